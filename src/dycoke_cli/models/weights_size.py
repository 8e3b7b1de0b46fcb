"""Whether the weights of a model fit on its device: known before they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.models.free_memory import in_words
from dycoke_cli.models.source import Source

if TYPE_CHECKING:
    from dycoke_cli.models.choosing import ChosenModel

_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
_FLOATS = ("F64", "F32", "F16", "BF16")


def weights_bytes(source: Source, dtype: torch.dtype) -> int | None:
    """Bytes that the weights will take, or None where that can't be told without reading them.

    Args:
        source: where the model is.
        dtype: in which it will be loaded.
    """
    if source.local:
        try:
            return sum(_tensors_bytes(file, dtype) for file in _files(Path(source.location)))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # whoever loads them says what is wrong
    if source.entry is None or source.entry.parameters is None:
        return None
    return source.entry.parameters * dtype.itemsize


def check_room(chosen: ChosenModel, free: int | None) -> None:
    """Refuse to load a model whose weights alone don't fit.

    Args:
        chosen: the model.
        free: bytes on its device, or None where nobody says.

    Raises:
        OutOfMemoryError: with the flag that helps.
    """
    if chosen.options.quantize is not None:
        return  # how much smaller they get depends on what stays whole
    needed = weights_bytes(chosen.source, chosen.dtype)
    if needed is None or free is None or needed <= free:
        return
    ways = ["a smaller --model"]
    if chosen.dtype == torch.float32 and needed // 2 <= free:
        ways.insert(0, "--dtype bfloat16")
    if chosen.device.type != "cpu":
        ways += ["--device-map auto", "--device cpu"]
    raise OutOfMemoryError(
        f"the model {chosen.source.name} {in_words(needed, free)} on {chosen.device}; "
        f"use {' or '.join(ways)}"
    )


def _files(folder: Path) -> list[Path]:
    """The weight files that are loaded, of what may be stored twice."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(named))]
    whole = folder / "model.safetensors"
    return [whole] if whole.exists() else sorted(folder.glob("*.safetensors"))


def _tensors_bytes(file: Path, dtype: torch.dtype) -> int:
    """Of one file, by its header: its length in 8 bytes, and a JSON object of all tensors."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"{file} has no header")
        header = json.loads(stream.read(length))
    total = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        if tensor["dtype"] in _FLOATS:
            total += torch.Size(tensor["shape"]).numel() * dtype.itemsize
        else:  # packed numbers stay as they are
            total += end - begin
    return total
