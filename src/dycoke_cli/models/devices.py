"""Devices: parsing of `--device`, devices of a loaded model, and out-of-memory errors."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.errors import UsageError

_OFFLOADED = ("cpu", "disk")
# torch raises a plain RuntimeError in these cases, recognisable by its text only: the CPU allocator
# on Linux and macOS, the one on Windows, MPS, and CUDA calls (pinned memory, cuBLAS).
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory: you tried to allocate",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def named_device(name: str) -> torch.device:
    """The device that `LoadOptions.device` names; "auto" is CUDA, then MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= devices:
        usable = "cuda" if devices else "cpu"
        raise UsageError(
            f"--device {name}: CUDA devices on this machine: {devices}; use --device {usable}"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: there is no such device on this machine")
    return device


def bfloat16_warning(device: torch.device, dtype: torch.dtype) -> str | None:
    """Sentence about a model in bfloat16 on a CUDA GPU older than Ampere; None about others.

    Such a GPU (T4, V100, GTX and RTX 20) converts every operand of bfloat16. float16 is computed
    directly, but isn't what `--dtype auto` takes: some checkpoints overflow in it.

    Args:
        dtype: dtype of its weights.
    """
    if device.type != "cuda" or dtype != torch.bfloat16 or torch.version.hip is not None:
        return None
    if torch.cuda.get_device_capability(device) >= (8, 0):
        return None
    return (
        f"{torch.cuda.get_device_name(device)} has no bfloat16 instructions: --dtype float16 is "
        "faster there, if the model's answers stay the same"
    )


def input_device(model: Any) -> torch.device:
    """Device that token ids and pixels are moved to.

    With a device map that is the first accelerator, where accelerate also runs offloaded layers.
    `model.device` isn't usable then: it is the device of the first parameter, which may be "meta"
    for an offloaded layer.
    """
    return working_devices(model)[0]


def working_devices(model: Any) -> list[torch.device]:
    """Devices on which a model computes; offloaded layers are copied there for each forward."""
    names = _mapped_devices(model)
    if len(names) < 2:
        return [model.device]
    compute = [torch.device(name) for name in names if name not in _OFFLOADED]
    return compute or [torch.device("cpu")]


def device_names(model: Any) -> str:
    """All devices that hold a part of a model, such as "cuda:0, cuda:1, cpu"."""
    names = _mapped_devices(model)
    return ", ".join(names) if len(names) > 1 else str(model.device)


def has_device_map(model: Any) -> bool:
    """Whether a device map distributes a model over more than one device."""
    return len(_mapped_devices(model)) > 1


def _mapped_devices(model: Any) -> list[str]:
    """Distinct devices of the device map, in layer order; [] without a device map."""
    devices = getattr(model, "hf_device_map", {}).values()
    # accelerate numbers CUDA devices and names others.
    names = [f"cuda:{device}" if isinstance(device, int) else str(device) for device in devices]
    return list(dict.fromkeys(names))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )
