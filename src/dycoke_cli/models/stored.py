"""Models as they are stored: stock `from_pretrained`, safetensors only, no remote code."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from dycoke_cli.errors import ModelError
from dycoke_cli.models.choosing import ChosenModel
from dycoke_cli.models.devices import is_spread
from dycoke_cli.models.quantizing import by_bitsandbytes, quantization, stored_quantized
from dycoke_cli.models.source import Source, explained
from dycoke_cli.models.spreading import placement, too_big_explained


def stored_model(chosen: ChosenModel) -> tuple[Any, Any]:
    """A model with its weights, in its place, and its processor.

    Args:
        chosen: what was found.

    Raises:
        ModelError: a part can't be read, or is incomplete.
        UsageError: it doesn't fit as it was asked for.
    """
    source, options = chosen.source, chosen.options
    where: dict[str, Any] = {"trust_remote_code": False}
    if not source.local:
        where |= {"revision": chosen.revision}
    with explained(source, "its tokenizer and processor"):
        processor = AutoProcessor.from_pretrained(source.location, **where)
    how = placement(options.device_map, options.quantize, chosen.config, chosen.device)
    if options.quantize is not None and by_bitsandbytes(options.quantize, chosen.device):
        how["quantization_config"] = quantization(options.quantize, chosen.config)
    with explained(source, "its weights"), too_big_explained(source.name, options.quantize):
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            source.location,
            dtype=chosen.dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported by us, with the name of the tensor
            output_loading_info=True,
            **how,
            **where,
        )
    model, info = loaded
    _check_complete(source, info)
    model = model.eval()
    if "device_map" not in how:
        model = model.to(chosen.device)
    quantized = options.quantize is not None or stored_quantized(chosen.config)
    if chosen.device.type == "cpu" and not quantized and not is_spread(model):
        _read_in(model)
    return model, processor


def _read_in(model: Any) -> None:
    """Touch a number of every page, for the weights are mapped from the file and not yet read.

    Otherwise the first question pays for the reading.
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
