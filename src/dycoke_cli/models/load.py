"""Loading: `load` returns a `LoadedModel`, the stock model with its processor and its family."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.kernels.choice import (
    FLOAT32_IS_FASTER,
    INT8_IS_SLOWER,
    MAX_FLOAT32_SHARE,
    choose_kernels,
    unmeasured,
)
from dycoke_cli.kernels.quantize import (
    by_bitsandbytes,
    held_bytes,
    import_bitsandbytes,
    quantization,
    stored_quantized,
)
from dycoke_cli.kernels.replacing import (
    packed_bytes,
    use_int8,
    use_own_attention,
    use_packed,
)
from dycoke_cli.models.catalog import Entry
from dycoke_cli.models.devices import device_names, input_device, is_spread, working_devices
from dycoke_cli.models.discovery.layout_cache import found_layout
from dycoke_cli.models.families import UNLISTED, Family, domain, method_defaults, remember
from dycoke_cli.models.free_memory import free_memory, free_memory_of_all
from dycoke_cli.models.load_memory import check_room
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.stock_processor import load_processor
from dycoke_cli.models.random_weights import MEANINGLESS, with_random_weights
from dycoke_cli.models.resolve import ModelRef, ResolvedModel, choose, commit_here, explained
from dycoke_cli.stock.model_class import auto_class
from dycoke_cli.stock.quiet import quiet_libraries

# What the loaders say, on 5.17.0 and 5.23.0, when the layers don't fit.
_QUANTIZED_OFFLOAD = "dispatched on the CPU or the disk"
_DISK_OFFLOAD = "offloaded to the disk"
# Of a checkpoint's generation configuration: how it wants to be run, which isn't its business (one
# starts a compiler).
_OF_RUNNING = (
    "cache_implementation",
    "cache_config",
    "compile_config",
    "continuous_batching_config",
    "max_time",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "prefill_chunk_size",
    "use_cache",
)


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, with its processor and its properties.

    Args:
        name: as the user gave it.
        revision: commit of a hub model, or None.
        entry: of the catalog, or None.
        model: a stock `transformers` model in evaluation mode.
        processor: its stock processor.
        family: its layout.
        seconds_load: from the call to the model being ready.
        quantize: "int8" or "int4" where its weights were quantized while they were loaded, or None.
        kernels: "fast" or "stock", as of `LoadOptions`.
        warnings: sentences that go with every answer of this model.
        free_bytes: of the device, before loading; None where it can't be asked, and of a model that
            is spread over several.
        identity: what identifies its weights and dtype; None of random weights.
    """

    name: str
    revision: str | None
    entry: Entry | None
    model: Any
    processor: Any
    family: Family
    seconds_load: float
    quantize: str | None = None
    kernels: str = "fast"
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
    def domain(self) -> str | None:
        """All that the model knows, where its checkpoint says so, such as "moving shapes"."""
        return domain(self.model.config)

    @property
    def context_length(self) -> int:
        """Positions that the language model was trained for."""
        config = self.model.get_decoder().config
        return getattr(config, "max_position_embeddings", self.processor.tokenizer.model_max_length)

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


def load(name: str, **given: Any) -> LoadedModel:
    """Load a model by catalog name, folder or hub id.

    Args:
        name: what `--model` takes.
        given: fields of `LoadOptions`, such as `device="cpu"`.

    Raises:
        ModelError: it can't be found or loaded.
        OutOfMemoryError: it doesn't fit on the device; nothing is allocated then.
        UsageError: a device or dtype that isn't there, or options that don't go together.
    """
    started = time.perf_counter()
    options = LoadOptions(**given)
    resolved = choose(name, options)
    spread = options.device_map is not None
    free = free_memory_of_all() if spread else free_memory(resolved.device)
    check_room(resolved, free)
    with quiet_libraries():
        model, processor = (with_random_weights if options.random_weights else from_pretrained)(
            resolved
        )
    source, family = resolved.source, resolved.family
    if family is UNLISTED:
        with quiet_libraries():
            family = found_layout(model, processor, source.name)
        remember(model.config, family)
    ours = options.quantize is not None and not by_bitsandbytes(options.quantize, resolved.device)
    # What no method can be attached to runs as it is stock, kernels and all.
    stock = options.kernels == "stock" or (family.stock_inputs and bool(family.only_none))
    fast, whole = not stock, not is_spread(model)
    kernels = (choose_kernels if fast and whole else unmeasured)(model, ours)
    warnings = [MEANINGLESS] if options.random_weights else []
    share = kernels.float32_share
    slow = options.dtype == "auto" and share is not None and share < MAX_FLOAT32_SHARE
    # Before layers are packed: in float32 twice as much as is in memory by now.
    if slow and free is not None and free > 2 * model.get_memory_footprint():
        warnings.append(FLOAT32_IS_FASTER.format(share=share))
    if ours:
        use_int8(model, kernels.int8)
    if fast:
        use_own_attention(model, kernels.attention)
    if fast and whole:
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
        free_bytes=None if spread else free,
        # The vision tower is rounded by us alone, so its rows are others than those of the same
        # model elsewhere.
        identity=None
        if options.random_weights
        else {**resolved.describe(), "device": "cpu" if ours else None},
    )


def from_pretrained(resolved: ResolvedModel) -> tuple[Any, Any]:
    """A stored model on its device, and its processor: safetensors only, no remote code.

    Args:
        resolved: the model, and how it is to be loaded.

    Raises:
        ModelError: a part can't be read, or is incomplete.
        UsageError: it doesn't fit as it was asked for.
    """
    source, options = resolved.source, resolved.options
    file_options: dict[str, Any] = {"trust_remote_code": False}
    if not source.local:
        here = commit_here(source, resolved.revision) is not None
        file_options |= {"revision": resolved.revision, "local_files_only": here}
    processor = load_processor(source, resolved.revision)
    weight_options = placement(
        options.device_map, options.quantize, resolved.config, resolved.device
    )
    if options.quantize is not None and by_bitsandbytes(options.quantize, resolved.device):
        weight_options["quantization_config"] = quantization(options.quantize, resolved.config)
    if "quantization_config" in weight_options or stored_quantized(resolved.config):
        import_bitsandbytes()
    with explained(source, "its weights"), too_big_explained(source.name, options.quantize):
        loaded: Any = auto_class(resolved.config).from_pretrained(
            source.location,
            config=resolved.config,
            dtype=resolved.dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported by us, with the name of the tensor
            output_loading_info=True,
            **weight_options,
            **file_options,
        )
    model, info = loaded
    _check_complete(source, info)
    for name in _OF_RUNNING:
        setattr(model.generation_config, name, None)
    model = model.eval()
    if "device_map" not in weight_options:
        model = model.to(resolved.device)
    quantized = options.quantize is not None or stored_quantized(resolved.config)
    if resolved.device.type == "cpu" and not quantized and not is_spread(model):
        _read_in(model)
    return model, processor


def placement(
    device_map: str | None, quantize: str | None, config: Any, device: torch.device
) -> dict[str, Any]:
    """What `from_pretrained` takes for the place of the weights; empty where we move them.

    Args:
        device_map: "auto" or None.
        quantize: "int8", "int4" or None.
        config: of the model.
        device: where a model on one device will run.
    """
    if device_map is not None:
        return {"device_map": device_map}
    if stored_quantized(config) or (quantize is not None and by_bitsandbytes(quantize, device)):
        return {"device_map": {"": str(device)}}  # such weights can't be moved afterwards
    return {}


@contextmanager
def too_big_explained(name: str, quantize: str | None) -> Iterator[None]:
    """Turn loader errors about a model that doesn't fit into an error with advice.

    Args:
        name: of the model.
        quantize: "int8", "int4" or None.

    Raises:
        UsageError: quantized layers would have to wait outside the GPUs.
        ModelError: it doesn't fit into memory.
    """
    try:
        yield
    except ValueError as error:
        if _QUANTIZED_OFFLOAD in str(error):
            raise UsageError(
                f"{name} doesn't fit the GPUs with --quantize {quantize}, and quantized layers "
                "can't wait outside them; use "
                + ("int4 or a smaller model" if quantize == "int8" else "a smaller model")
            ) from error
        if _DISK_OFFLOAD in str(error):
            raise ModelError(
                f"{name} doesn't fit into the memory of all devices; use --quantize int4 or a "
                "smaller model"
            ) from error
        raise


def _read_in(model: Any) -> None:
    """Touch a number of every page, for the weights are mapped from the file and not yet read.

    Otherwise the first question pays for the reading.
    """
    page = 4096
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().flatten()[:: page // tensor.element_size()].sum()


def _check_complete(source: ModelRef, info: dict[str, Any]) -> None:
    for what, keys in (
        ("lacks weights", info["missing_keys"]),
        ("has weights of a wrong shape", info["mismatched_keys"]),
    ):
        if keys:
            first = min(str(key[0] if isinstance(key, tuple) else key) for key in keys)
            others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(f"{source.name} {what}: {first}{others}; download it again")
