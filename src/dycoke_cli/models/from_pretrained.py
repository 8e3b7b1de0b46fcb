"""Reads a stored model with stock `from_pretrained`: safetensors only, no remote code."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.kernels.quantize import (
    by_bitsandbytes,
    import_bitsandbytes,
    quantization,
    stored_quantized,
)
from dycoke_cli.models.devices import has_device_map
from dycoke_cli.models.files.read_errors import explained
from dycoke_cli.models.prompts.frame_fit import fit_of
from dycoke_cli.models.prompts.stock_processor import load_processor
from dycoke_cli.models.reference import ModelRef
from dycoke_cli.models.resolve import ResolvedModel, commit_here
from dycoke_cli.stock.model_class import auto_class
from dycoke_cli.video.kept_frames import Fit

# Parts of the errors of transformers 5.17.0 and 5.23.0 when layers don't fit.
_QUANTIZED_OFFLOAD = "dispatched on the CPU or the disk"
_DISK_OFFLOAD = "offloaded to the disk"
# Settings of a checkpoint's generation_config.json that change how a model runs, not what it
# generates. They are reset, because a checkpoint could start a compiler or replace the KV cache.
_RUNTIME_SETTINGS = (
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


def from_pretrained(resolved: ResolvedModel, fit: Future[Fit] | None = None) -> tuple[Any, Any]:
    """Load a stored model to its device, and its processor: safetensors only, no remote code."""
    source, options = resolved.source, resolved.options
    file_options: dict[str, Any] = {"trust_remote_code": False}
    if not source.local:
        # For a complete model the hub isn't contacted at all, so it loads offline and faster.
        complete = commit_here(source, resolved.revision) is not None
        file_options |= {"revision": resolved.revision, "local_files_only": complete}
    processor = load_processor(source, resolved.revision)
    if fit is not None:
        fit.set_result(fit_of(processor, resolved.family, resolved.config))
    weight_options = device_map_options(
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
            use_safetensors=True,  # other formats are pickled, and unpickling runs code
            ignore_mismatched_sizes=True,  # reported by us, with the name of the tensor
            output_loading_info=True,
            **weight_options,
            **file_options,
        )
    model, info = loaded
    _check_complete(source, info)
    for name in _RUNTIME_SETTINGS:
        setattr(model.generation_config, name, None)
    model = model.eval()
    # With a device map the weights are in place, and accelerate's hooks forbid moving them.
    if "device_map" not in weight_options:
        model = model.to(resolved.device)
    quantized = options.quantize is not None or stored_quantized(resolved.config)
    if resolved.device.type == "cpu" and not quantized and not has_device_map(model):
        _fault_in(model)
    return model, processor


def device_map_options(
    device_map: str | None, quantize: str | None, config: Any, device: torch.device
) -> dict[str, Any]:
    """Arguments of `from_pretrained` that place the weights; empty if `load` moves them itself.

    Args:
        device_map: "auto" or None.
        quantize: "int8", "int4" or None.
    """
    if device_map is not None:
        return {"device_map": device_map}
    if stored_quantized(config) or (quantize is not None and by_bitsandbytes(quantize, device)):
        return {"device_map": {"": str(device)}}  # such weights can't be moved afterwards
    return {}


@contextmanager
def too_big_explained(name: str, quantize: str | None) -> Iterator[None]:
    """Convert loader errors about a model that doesn't fit into errors with advice.

    Args:
        quantize: "int8", "int4" or None.
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


def _fault_in(model: Any) -> None:
    """Read one number of every page of the weights, which are memory-mapped and not yet read.

    Otherwise the disk reads are part of the first question, and of its measured time.
    """
    page = 4096
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().flatten()[:: page // tensor.element_size()].sum()


def _check_complete(source: ModelRef, info: dict[str, Any]) -> None:
    # transformers initialises such weights at random and only warns; the model would run, and
    # generate nonsense.
    for what, keys in (
        ("lacks weights", info["missing_keys"]),
        ("has weights of a wrong shape", info["mismatched_keys"]),
    ):
        if keys:
            first = min(str(key[0] if isinstance(key, tuple) else key) for key in keys)
            others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(f"{source.name} {what}: {first}{others}; download it again")
