"""Quantization to 8 or 4 bits: where it is supported, and what is skipped.

bitsandbytes has kernels for CUDA, and for 4 bits on a CPU; `replacing.py` has 8 bits on a CPU.
"""

from __future__ import annotations

import copy
import sys
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from dycoke_cli.errors import UsageError, need
from dycoke_cli.stock.private_api import auto_class, without_initialisation

EXTRA = "big"
# bitsandbytes' 4-bit kernels require multiples of these: on a CPU they pack 32 rows (outputs)
# together, and a scale covers a block of 64 inputs.
_ROWS, _BLOCK = 32, 64


def check_quantize(
    quantize: str | None, name: str, config: Any, device: torch.device, random_weights: bool = False
) -> None:
    """Check that a model can be quantized on a device.

    Args:
        quantize: "int8", "int4" or None.
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
    """Whether a checkpoint is stored with quantized weights."""
    return getattr(config, "quantization_config", None) is not None


def quantization(quantize: str, config: Any) -> Any:
    """Argument `quantization_config` of `from_pretrained` for bitsandbytes.

    Args:
        quantize: "int8" or "int4".
    """
    skipped = skipped_modules(config, quantize)
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=skipped,
    )


def skipped_modules(config: Any, quantize: str, model: Any = None) -> list[str]:
    """Names of the modules that bitsandbytes doesn't quantize.

    These are all modules outside the text decoder: vision tower and projector, because token
    merging compares their outputs, and the output layer, which is on the quantizer's own list that
    this one replaces. For 4 bits, also decoder layers whose shape the kernels don't support.

    Args:
        quantize: "int8" or "int4".
        model: one of it without weights; None builds it.
    """
    if model is None:
        with torch.device("meta"), without_initialisation():
            # A copy, because `from_config` writes into the configuration.
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
    """Import bitsandbytes, if it is installed, without downloading code from the hub.

    On some CPUs it downloads a kernel if the package `kernels` is installed. It falls back to one
    of its own if that can't be imported.
    """
    if find_spec("bitsandbytes") is None:
        return
    missing = object()
    kernels: Any = sys.modules.get("kernels", missing)
    sys.modules["kernels"] = None  # type: ignore[assignment]  # makes `import kernels` fail
    try:
        import bitsandbytes  # noqa: F401
    finally:
        if kernels is missing:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = kernels


def tensor_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's storage, including the scales of a quantized one.

    Args:
        tensor: of any kind.
    """
    # A 4-bit weight of bitsandbytes has its scales in an attribute.
    if (scales := getattr(tensor, "quant_state", None)) is not None:
        parts = scales.as_dict().values()
        return tensor.nbytes + sum(x.nbytes for x in parts if isinstance(x, torch.Tensor))
    # Tensor subclasses of quantizers report the size before quantization; their parts are true.
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    names, _ = tensor.__tensor_flatten__()
    return sum(tensor_bytes(getattr(tensor, name)) for name in names)


def by_bitsandbytes(quantize: str, device: torch.device) -> bool:
    """Whether bitsandbytes quantizes, through accelerate; else `linear.py` does.

    Args:
        quantize: "int8" or "int4".
    """
    return quantize == "int4" or device.type == "cuda"


def _outside(module: Any, decoder: Any, prefix: str = "") -> list[str]:
    """Full names of the outermost submodules that don't contain the decoder."""
    names = []
    for name, child in module.named_children():
        if child is decoder:
            continue
        # A name on the list covers all its submodules, so a parent of the decoder can't be on it.
        if any(part is decoder for part in child.modules()):
            names += _outside(child, decoder, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names
