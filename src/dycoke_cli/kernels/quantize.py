"""Weights in 8 or 4 bits: where that is supported, and which modules bitsandbytes doesn't quantize.

bitsandbytes has kernels for CUDA, and for 4 bits on a CPU; 8 bits on a CPU are in `replacing.py`.
"""

from __future__ import annotations

import copy
import sys
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from dycoke_cli.errors import UsageError
from dycoke_cli.extras import need
from dycoke_cli.stock.model_class import auto_class

EXTRA = "big"
# Outputs and inputs of a layer that bitsandbytes' kernels for 4 bits take come in so many: on a CPU
# they pack 32 rows together, and a block of inputs has one scale.
_ROWS, _BLOCK = 32, 64


def check_quantize(
    quantize: str | None, name: str, config: Any, device: torch.device, random_weights: bool = False
) -> None:
    """Check that a model can be quantized here.

    Args:
        quantize: "int8", "int4" or None.
        name: of the model.
        config: of the model.
        device: where it will run.
        random_weights: whether it is built with those.

    Raises:
        UsageError: it is quantized already, the device can't, or bitsandbytes would have to read
            random weights from a file.
        ModelError: a package isn't installed.
    """
    if quantize is None:
        return
    if stored_quantized(config):
        raise UsageError(f"{name} is stored with quantized weights; drop --quantize {quantize}")
    if device.type not in ("cuda", "cpu"):
        raise UsageError(
            f"--quantize works on CUDA and on a CPU, not on {device.type}; add --device cpu"
        )
    if not by_bitsandbytes(quantize, device):
        return
    if random_weights:
        instead = "add --device cpu or drop it" if quantize == "int8" else "drop it"
        raise UsageError(
            "--random-weights goes with --quantize int8 on a CPU alone; with --quantize "
            f"{quantize} on {device.type}, {instead}"
        )
    for package in ("accelerate", "bitsandbytes"):
        need(package, EXTRA, f"--quantize {quantize} on {device.type}")


def stored_quantized(config: Any) -> bool:
    """Whether a checkpoint's own weights are quantized.

    Args:
        config: of the model.
    """
    return getattr(config, "quantization_config", None) is not None


def quantization(quantize: str, config: Any) -> Any:
    """What `from_pretrained` takes as `quantization_config` where bitsandbytes quantizes.

    Args:
        quantize: "int8" or "int4".
        config: of the model.
    """
    whole = kept_whole(config, quantize)
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=whole,
    )


def kept_whole(config: Any, quantize: str) -> list[str]:
    """The modules outside the text decoder: vision tower, projector, output layer.

    Merging compares what the vision side makes of a frame, and that must not change. A list given
    to a quantizer takes the place of its own, which has the output layer in it. In 4 bits also the
    layers of the decoder whose shape the kernels don't take.

    Args:
        config: of the model.
        quantize: "int8" or "int4".
    """
    with torch.device("meta"):  # which notes the dtype in the configuration that it is given
        model = auto_class(config).from_config(copy.deepcopy(config))
    outside = _outside(model, model.get_decoder())
    if quantize == "int8":
        return outside
    decoder = model.get_decoder()
    (prefix,) = (name for name, part in model.named_modules() if part is decoder)
    return outside + [
        f"{prefix}.{name}"
        for name, part in decoder.named_modules()
        if isinstance(part, torch.nn.Linear)
        and (part.out_features % _ROWS or part.in_features % _BLOCK)
    ]


def import_bitsandbytes() -> None:
    """Import bitsandbytes, where it is installed, without the kernel it would fetch from the hub.

    It does on some CPUs where the package kernels is installed; else it uses one of its own.
    """
    if find_spec("bitsandbytes") is None:
        return
    missing = object()
    kernels: Any = sys.modules.get("kernels", missing)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        import bitsandbytes  # noqa: F401
    finally:
        if kernels is missing:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = kernels


def held_bytes(tensor: torch.Tensor) -> int:
    """Bytes that a tensor holds; of a quantized one, those of what it is made of.

    Args:
        tensor: of any kind; one that says how it is taken apart claims the size it had before, and
            bitsandbytes' in 4 bits has its scales beside it.
    """
    if (scales := getattr(tensor, "quant_state", None)) is not None:
        beside = scales.as_dict().values()
        return tensor.nbytes + sum(x.nbytes for x in beside if isinstance(x, torch.Tensor))
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    names, _ = tensor.__tensor_flatten__()
    return sum(held_bytes(getattr(tensor, name)) for name in names)


def by_bitsandbytes(quantize: str, device: torch.device) -> bool:
    """Whether bitsandbytes quantizes, through accelerate; else we do.

    Args:
        quantize: "int8" or "int4".
        device: where the model will run.
    """
    return quantize == "int4" or device.type == "cuda"


def _outside(module: Any, decoder: Any, prefix: str = "") -> list[str]:
    """The largest parts of a module that the decoder isn't a part of, by their full names."""
    names = []
    for name, child in module.named_children():
        if child is decoder:
            continue
        if any(part is decoder for part in child.modules()):
            names += _outside(child, decoder, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names
