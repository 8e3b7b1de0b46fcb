"""Loads a model and its processor, stock `from_pretrained`: safetensors only, no remote code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import Entry
from dycoke_cli.models.choosing import choose, family_in, method_defaults
from dycoke_cli.models.free_memory import free_memory
from dycoke_cli.models.layouts import Family
from dycoke_cli.models.quiet import quiet_libraries
from dycoke_cli.models.source import Source, explained, find, read_config
from dycoke_cli.models.weights_size import check_room


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
        free_bytes: of the device, before the weights were there; None where nobody says.
    """

    name: str
    revision: str | None
    entry: Entry | None
    model: Any
    processor: Any
    family: Family
    seconds_load: float
    free_bytes: int | None = None

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
        """Parameters of methods that suit this model."""
        return method_defaults(self.entry, self.layers)

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
        dtype: "auto" (as stored, but bfloat16 for float16 on a CPU), or a name in
            `choosing.DTYPES`.
        revision: branch, tag or commit of a hub model.

    Raises:
        ModelError: it can't be found or loaded.
        OutOfMemoryError: its weights alone don't fit on the device.
        UsageError: a device or dtype that isn't there.
    """
    started = time.perf_counter()
    chosen = choose(name, device, dtype, revision)
    source, commit = chosen.source, chosen.revision
    free = free_memory(chosen.device)
    check_room(chosen, free)
    where = {"trust_remote_code": False} | ({} if source.local else {"revision": commit})
    with quiet_libraries():
        with explained(source, "its tokenizer and processor"):
            processor = AutoProcessor.from_pretrained(source.location, **where)
        with explained(source, "its weights"):
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                source.location,
                dtype=chosen.dtype,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported by us, with the name of the tensor
                output_loading_info=True,
                **where,
            )
        model, info = loaded
        _check_complete(source, info)
        model = model.eval().to(chosen.device)
        if chosen.device.type == "cpu":
            _read_in(model)
    seconds = time.perf_counter() - started
    return LoadedModel(name, commit, source.entry, model, processor, chosen.family, seconds, free)


def tokens_per_frame(name: str) -> int:
    """Visual tokens a frame of a model, without loading its weights.

    Raises:
        ModelError: it can't be found.
    """
    source = find(name)
    if source.entry is not None:
        return source.entry.tokens_per_frame
    config, _ = read_config(source)
    per_frame = family_in(source, config).per_frame
    assert per_frame is not None
    return per_frame(config)


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
