"""Loads a model and its processor, and says what the rest needs to know of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.models.catalog import Entry
from dycoke_cli.models.choosing import choose
from dycoke_cli.models.cpu import INT8_IS_SLOWER, int8_is_slower, own_attention_suits
from dycoke_cli.models.devices import device_names, input_device, is_spread, working_devices
from dycoke_cli.models.families import Family, method_defaults
from dycoke_cli.models.fast_attention import use_kernels
from dycoke_cli.models.free_memory import free_memory, free_memory_of_all
from dycoke_cli.models.linear_layers import packed_bytes, use_int8, use_packed
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.quantizing import by_bitsandbytes, held_bytes
from dycoke_cli.models.quiet import quiet_libraries
from dycoke_cli.models.random_weights import MEANINGLESS, unlearned_model
from dycoke_cli.models.stored import stored_model
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
        quantize: "int8" or "int4" where its weights were quantized while they were loaded, or None.
        warnings: what must be said with every answer of this model.
        free_bytes: of the device, before the weights were there; None where nobody says, and of a
            model that is spread over several.
        identity: what tells its weights and dtype from others'; None where nothing does.
    """

    name: str
    revision: str | None
    entry: Entry | None
    model: Any
    processor: Any
    family: Family
    seconds_load: float
    quantize: str | None = None
    warnings: tuple[str, ...] = ()
    free_bytes: int | None = None
    identity: dict[str, Any] | None = None

    @property
    def device(self) -> str:
        """Where the model runs, such as "cpu" or "cuda:0"; all devices where it is spread."""
        return device_names(self.model)

    @property
    def input_device(self) -> torch.device:
        """Where token ids and pixels go in."""
        return input_device(self.model)

    @property
    def working_devices(self) -> list[torch.device]:
        """Where the model computes."""
        return working_devices(self.model)

    @property
    def dtype(self) -> str:
        """Of the language model's weights, such as "bfloat16" or "int8"."""
        return self.quantize or str(self.model.dtype).removeprefix("torch.")

    @property
    def layers(self) -> int:
        """Of the language model."""
        return self.model.get_decoder().config.num_hidden_layers

    @property
    def method_defaults(self) -> dict[str, Any]:
        """Parameters of methods that suit this model."""
        return method_defaults(self.model.config)

    @property
    def context_length(self) -> int:
        """Positions that the language model was made for."""
        return self.model.get_decoder().config.max_position_embeddings

    @property
    def weights_bytes(self) -> int:
        """Bytes of all parameters and buffers, and of weights that lie in another form."""
        return sum(map(held_bytes, self._held)) + packed_bytes(self.model)

    @property
    def working_weights_bytes(self) -> int:
        """The same, of those that lie where the model computes."""
        if not is_spread(self.model):
            return self.weights_bytes
        devices = self.working_devices
        return sum(held_bytes(tensor) for tensor in self._held if tensor.device in devices)

    @property
    def _held(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]


def load(
    name: str,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    *,
    random_weights: bool = False,
    device_map: str | None = None,
    quantize: str | None = None,
    kernels: str = "fast",
) -> LoadedModel:
    """Load a model by catalog name, folder or hub id.

    Args:
        name: what `--model` takes.
        device: see `LoadOptions`, as all that follow.
        dtype: number format of the weights.
        revision: of a hub model.
        random_weights: the published configuration, without its weights.
        device_map: "auto" spreads the layers over all devices.
        quantize: "int8" or "int4".
        kernels: "fast" or "stock".

    Raises:
        ModelError: it can't be found or loaded.
        OutOfMemoryError: it doesn't fit on the device; nothing is allocated then.
        UsageError: a device or dtype that isn't there, or options that don't go together.
    """
    started = time.perf_counter()
    options = LoadOptions(device, dtype, revision, random_weights, device_map, quantize, kernels)
    chosen = choose(name, options)
    spread = device_map is not None
    free = free_memory_of_all() if spread else free_memory(chosen.device)
    check_room(chosen, free)
    with quiet_libraries():
        model, processor = (unlearned_model if random_weights else stored_model)(chosen)
    ours = quantize is not None and not by_bitsandbytes(quantize, chosen.device)
    if ours:
        use_int8(model)
    if kernels == "fast":
        if own_attention_suits():
            use_kernels(model)
        use_packed(model)
    warnings = [MEANINGLESS] if random_weights else []
    if ours and int8_is_slower():
        warnings.append(INT8_IS_SLOWER)
    source = chosen.source
    return LoadedModel(
        source.name,
        chosen.revision,
        source.entry,
        model,
        processor,
        chosen.family,
        time.perf_counter() - started,
        quantize=quantize,
        warnings=tuple(warnings),
        free_bytes=None if spread else free,
        # The vision tower is rounded by us alone, so its rows are others than those of the same
        # model elsewhere.
        identity=None
        if random_weights
        else {**chosen.describe(), "device": "cpu" if ours else None},
    )


__all__ = ["LoadedModel", "load"]
