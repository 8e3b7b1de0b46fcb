"""Loads a model: `load` returns a `LoadedModel`, the stock model with its processor and family."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from dycoke_cli.kernels.choice import INT8_IS_SLOWER, choose_kernels, unmeasured
from dycoke_cli.kernels.int8_cache import MIN_CACHED_WEIGHTS, Int8Cache
from dycoke_cli.kernels.quantize import by_bitsandbytes, tensor_bytes
from dycoke_cli.kernels.replacing import (
    packed_bytes,
    use_custom_attention,
    use_int8,
    use_packed,
)
from dycoke_cli.kernels.timing import bfloat16_factor
from dycoke_cli.models.catalog import Entry
from dycoke_cli.models.devices import (
    bfloat16_warning,
    device_names,
    has_device_map,
    input_device,
    working_devices,
)
from dycoke_cli.models.discovery.layout_cache import found_layout
from dycoke_cli.models.families import UNLISTED, Family, domain, method_defaults, remember
from dycoke_cli.models.free_memory import free_memory, free_memory_of_all
from dycoke_cli.models.from_pretrained import from_pretrained
from dycoke_cli.models.load_memory import check_room, without_weights
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_fit import fit_of
from dycoke_cli.models.random_weights import MEANINGLESS, with_random_weights
from dycoke_cli.models.reference import ModelRef
from dycoke_cli.models.resolve import choose, stored_dtype
from dycoke_cli.models.traits import ModelTraits, traits_of
from dycoke_cli.stock.quiet import quiet_libraries
from dycoke_cli.video.kept_frames import Fit


@dataclass(frozen=True)
class LoadedModel:
    """Model in memory, with its processor and properties."""

    name: str  # as the user gave it
    revision: str | None  # commit of a hub model, or None
    entry: Entry | None  # of the catalog, or None
    model: Any  # a stock `transformers` model in evaluation mode
    processor: Any  # its stock processor
    family: Family  # its layout
    seconds_load: float  # duration of `load`
    # "int8" or "int4" if its weights were quantized at load time, or None
    quantize: str | None = None
    kernels: str = "fast"  # "fast" or "stock", as in `LoadOptions`
    warnings: tuple[str, ...] = ()  # sentences that are added to every answer of this model
    # free memory of the device before loading; None if unknown, and for a model on several devices
    free_bytes: int | None = None
    # identifies weights, dtype and device in caches; None for random weights
    identity: dict[str, Any] | None = None

    @property
    def device(self) -> str:
        """Device of the model, such as "cpu" or "cuda:0"; all devices with a device map."""
        return device_names(self.model)

    @property
    def input_device(self) -> torch.device:
        """Device that token ids and pixels are moved to."""
        return input_device(self.model)

    @property
    def working_devices(self) -> list[torch.device]:
        """Devices on which the model computes."""
        return working_devices(self.model)

    @property
    def dtype(self) -> str:
        """Dtype of the language model's weights, such as "bfloat16" or "int8"."""
        return self.quantize or str(self.model.dtype).removeprefix("torch.")

    @property
    def layers(self) -> int:
        """Number of language model layers."""
        return self.model.get_decoder().config.num_hidden_layers

    @property
    def method_defaults(self) -> dict[str, Any]:
        """Parameters of methods that suit this model."""
        return method_defaults(self.model.config)

    @cached_property
    def traits(self) -> ModelTraits:
        """What a method is bound by; read once, for each request binds its method."""
        return traits_of(self.model.config, self.name, self.family)

    @cached_property
    def fit(self) -> Fit:
        """Resize of frames to the size that the model reads."""
        return fit_of(self.processor, self.family, self.model.config)

    @property
    def domain(self) -> str | None:
        """The only domain the model knows, if its checkpoint declares one: "moving shapes"."""
        return domain(self.model.config)

    @property
    def context_length(self) -> int:
        """Context length of the language model, in tokens."""
        config = self.model.get_decoder().config
        return getattr(config, "max_position_embeddings", self.processor.tokenizer.model_max_length)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all parameters and buffers, including packed weights."""
        return sum(map(tensor_bytes, self._tensors)) + packed_bytes(self.model)

    @property
    def working_weights_bytes(self) -> int:
        """Bytes of the weights on the devices on which the model computes (not offloaded)."""
        if not has_device_map(self.model):
            return self.weights_bytes
        devices = self.working_devices
        return sum(tensor_bytes(tensor) for tensor in self._tensors if tensor.device in devices)

    @property
    def _tensors(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]


def load(
    name: str | ModelRef,
    *,
    on_stage: Callable[[str, int, int], None] | None = None,
    fit: Future[Fit] | None = None,
    **given: Any,
) -> LoadedModel:
    """Load a model by catalog name, folder or hub id.

    Args:
        name: what `--model` takes, or what `reference.find` found by that.
        on_stage: called with ("pack", layers done, layers in total) while weights are quantized for
            the first time.
        fit: receives `LoadedModel.fit` before the weights are read; not with random weights.
        given: fields of `LoadOptions`, such as `device="cpu"`.

    Raises:
        ModelError: it can't be found or loaded.
        OutOfMemoryError: it doesn't fit on the device; nothing is allocated then.
        UsageError: a device or dtype that isn't there, or options that don't go together.
    """
    started = time.perf_counter()
    options = LoadOptions(**given)
    resolved = choose(name, options)
    source, family = resolved.source, resolved.family
    own_int8 = options.quantize is not None and not by_bitsandbytes(
        options.quantize, resolved.device
    )
    # Weights in the dtype of the file stay mapped: those of which the cache has int8 ones are never
    # read. The rest is converted at the end.
    stored = getattr(torch, stored_dtype(resolved.config))
    wider = own_int8 and resolved.dtype.itemsize > stored.itemsize and family is not UNLISTED
    wider = wider and not options.random_weights
    built = without_weights(resolved) if wider else None
    several_devices = options.device_map is not None
    free = free_memory_of_all() if several_devices else free_memory(resolved.device)
    # Before anything is allocated: the system kills a process that runs out of main memory, and the
    # user would see no message.
    check_room(resolved, free, built=built)
    with quiet_libraries():
        read = resolved if not wider else replace(resolved, dtype=stored)
        if options.random_weights:
            model, processor = with_random_weights(read)
        else:
            model, processor = from_pretrained(read, fit)
    if family is UNLISTED:
        with quiet_libraries():
            family = found_layout(model, processor, source.name)
        # Methods attach to a plain stock model, which has its configuration but no `LoadedModel`.
        remember(model.config, family)
    # A discovered model that takes no method runs entirely stock. Whatever kept its layout from
    # being proven, such as attention masks of its own, may break our kernels as well.
    stock = options.kernels == "stock" or (family.stock_inputs and bool(family.only_none))
    fast, one_device = not stock, not has_device_map(model)
    kernels = (choose_kernels if fast and one_device else unmeasured)(
        model if built is None else built, own_int8
    )
    identity = None if options.random_weights else resolved.describe()
    warnings = [MEANINGLESS] if options.random_weights else []
    if resolved.emulated is not None:
        warnings.append(resolved.emulated.warning(bfloat16_factor()))
    warnings += filter(None, [bfloat16_warning(resolved.device, resolved.dtype)])
    # int8 first: it replaces stock linear layers, and `use_packed` packs those that are left.
    if own_int8:
        cache = None
        if identity is not None:
            cache = _int8_cache(source.name, identity["weights"], model, kernels.int8)
        on_rounded = None if on_stage is None else partial(on_stage, "pack")
        converted = resolved.dtype if wider else None
        use_int8(model, kernels.int8, cache, on_rounded, converted)
        warnings += cache.problems if cache else []
    if fast:
        use_custom_attention(model, kernels.attention)
    if fast and one_device:
        use_packed(model, kernels.packed)
    if kernels.int8_is_slower:
        warnings.append(INT8_IS_SLOWER)
    return LoadedModel(
        source.name,
        resolved.revision,
        source.entry,
        model,
        processor,
        family,
        time.perf_counter() - started,
        quantize=options.quantize,
        kernels="stock" if stock else options.kernels,
        warnings=tuple(warnings),
        free_bytes=None if several_devices else free,
        # The identity is the key of cached embeddings, which are the same on all devices. Except
        # for our own int8 on a CPU: unlike bitsandbytes, it quantizes the vision tower as well.
        identity=identity and {**identity, "device": "cpu" if own_int8 else None},
    )


def _int8_cache(name: str, weights: str, model: Any, layers: Collection[str]) -> Int8Cache | None:
    """Int8 weights of earlier loads; None for a small model."""
    if sum(model.get_submodule(one).weight.numel() for one in layers) < MIN_CACHED_WEIGHTS:
        return None
    return Int8Cache({"weights": weights, "dtype": str(model.dtype)}, name)
