"""Loads a model and its processor, stock `from_pretrained`: safetensors only, no remote code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.catalog import Entry
from dycoke_cli.models.layouts import FAMILIES, Family, family_of
from dycoke_cli.models.quiet import quiet_libraries
from dycoke_cli.models.source import Source, explained, find, read_config

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT_PRUNE_LAYER = 3


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, with its processor and what the rest needs to know of it.

    Args:
        name: as the user gave it.
        revision: commit of a hub model, or None.
        entry: of the catalog, or None.
        model: a stock `transformers` model in evaluation mode.
        processor: its stock processor.
        family: its layout.
        seconds_load: from the call to the model being ready.
    """

    name: str
    revision: str | None
    entry: Entry | None
    model: Any
    processor: Any
    family: Family
    seconds_load: float

    @property
    def device(self) -> str:
        """Where the language model runs, such as "cpu" or "cuda:0"."""
        return str(self.model.device)

    @property
    def dtype(self) -> str:
        """Of the weights, such as "bfloat16"."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def layers(self) -> int:
        """Of the language model."""
        return self.model.get_decoder().config.num_hidden_layers

    @property
    def method_defaults(self) -> dict[str, Any]:
        """Parameters of methods that suit this model: the catalog's, or what the paper has."""
        if self.entry is not None:
            return {"prune_layer": self.entry.prune_layer, "positions": self.entry.positions}
        # A small model may have no layer of that number.
        return {"prune_layer": min(DEFAULT_PRUNE_LAYER, self.layers - 1)}

    @property
    def tokens_per_frame(self) -> int:
        """Visual tokens a frame."""
        return self.family.tokens_per_frame(self.model.config)

    @property
    def context_length(self) -> int:
        """Positions that the language model was made for."""
        return self.model.get_decoder().config.max_position_embeddings

    @property
    def weights_bytes(self) -> int:
        """Bytes of all parameters and buffers."""
        held = [*self.model.parameters(), *self.model.buffers()]
        return sum(tensor.nbytes for tensor in held)


def load(
    name: str, device: str = "auto", dtype: str = "auto", revision: str | None = None
) -> LoadedModel:
    """Load a model by catalog name, folder or hub id.

    Args:
        name: what `--model` takes.
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:N" or "mps".
        dtype: "auto" (as stored, but bfloat16 for float16 on a CPU), or a name in `DTYPES`.
        revision: branch, tag or commit of a hub model.

    Raises:
        ModelError: it can't be found or loaded.
        UsageError: a device or dtype that isn't there.
    """
    started = time.perf_counter()
    target = _device(device)
    source = find(name)
    config, commit = read_config(source, revision)
    family = _family(source, config)
    kind = _dtype(dtype, config, target)
    where = {"trust_remote_code": False} | ({} if source.local else {"revision": commit})
    with quiet_libraries():
        with explained(source, "its tokenizer and processor"):
            processor = AutoProcessor.from_pretrained(source.location, **where)
        with explained(source, "its weights"):
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                source.location,
                dtype=kind,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported by us, with the name of the tensor
                output_loading_info=True,
                **where,
            )
        model, info = loaded
        _check_complete(source, info)
        model = model.eval().to(target)
        if target.type == "cpu":
            _read_in(model)
    seconds = time.perf_counter() - started
    return LoadedModel(name, commit, source.entry, model, processor, family, seconds)


def tokens_per_frame(name: str) -> int:
    """Visual tokens a frame of a model, without loading its weights.

    Raises:
        ModelError: it can't be found.
    """
    source = find(name)
    if source.entry is not None:
        return source.entry.tokens_per_frame
    config, _ = read_config(source)
    return _family(source, config).tokens_per_frame(config)


def _family(source: Source, config: Any) -> Family:
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"{source.name} is of the family {config.model_type!r}, which isn't supported "
            f"(supported: {', '.join(FAMILIES)})"
        )
    return family_of(config)


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, not {name!r}")
    devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= devices:
        raise UsageError(f"--device {name}: CUDA devices on this machine: {devices}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: there is no such device on this machine")
    return device


def _dtype(name: str, config: Any, device: torch.device) -> torch.dtype:
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise UsageError(f"--dtype must be auto, {', '.join(DTYPES)}, not {name!r}")
    stored = config.dtype or config.get_text_config().dtype or torch.float32
    if stored == torch.float16 and device.type == "cpu":
        return torch.bfloat16  # CPUs compute float16 slowly, where they do at all
    return stored


def _read_in(model: Any) -> None:
    """Touch a number of every page, for the weights are mapped from the file and not yet read.

    Otherwise the first question pays for the reading, and its memory seems to hold the weights.
    """
    page = 4096
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().flatten()[:: page // tensor.element_size()].sum()


def _check_complete(source: Source, info: dict[str, Any]) -> None:
    for what, keys in (
        ("lacks weights", info["missing_keys"]),
        ("has weights of a wrong shape", info["mismatched_keys"]),
    ):
        if keys:
            first = min(str(key[0] if isinstance(key, tuple) else key) for key in keys)
            others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(f"{source.name} {what}: {first}{others}; download it again")


__all__ = ["LoadedModel", "load", "tokens_per_frame"]
