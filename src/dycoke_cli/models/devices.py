"""Devices: the one that `--device` names, those that a model is on, and how their memory ends."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.errors import UsageError

_OFFLOADED = ("cpu", "disk")
# Where torch raises a plain RuntimeError, its text is all there is to go by: the CPU's allocator on
# Linux and macOS, on Windows, that of MPS, and CUDA's own calls (pinned memory, cuBLAS).
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory: you tried to allocate",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def named_device(name: str) -> torch.device:
    """The device that `--device` names; "auto" is CUDA, then MPS, then the CPU.

    Raises:
        UsageError: it isn't one, or isn't on this machine.
    """
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


def input_device(model: Any) -> torch.device:
    """Where token ids and pixels go in.

    Of a spread model that is the first accelerator: there accelerate runs what is kept elsewhere,
    and the first parameter, which `model.device` asks, may be on no device at all.

    Args:
        model: a stock model.
    """
    return working_devices(model)[0]


def working_devices(model: Any) -> list[torch.device]:
    """Where a model computes: what waits in main memory or on the disk is brought there.

    Args:
        model: a stock model.
    """
    spread = _spread_over(model)
    if len(spread) < 2:
        return [model.device]
    compute = [torch.device(name) for name in spread if name not in _OFFLOADED]
    return compute or [torch.device("cpu")]


def device_names(model: Any) -> str:
    """All devices that hold a part of a model, such as "cuda:0, cuda:1, cpu".

    Args:
        model: a stock model.
    """
    spread = _spread_over(model)
    return ", ".join(spread) if len(spread) > 1 else str(model.device)


def is_spread(model: Any) -> bool:
    """Whether a model is on more than one device.

    Args:
        model: a stock model.
    """
    return len(_spread_over(model)) > 1


def _spread_over(model: Any) -> list[str]:
    """The devices in the order of the layers; [] where the model was put on one by us."""
    places = getattr(model, "hf_device_map", {}).values()
    named = [f"cuda:{place}" if isinstance(place, int) else str(place) for place in places]
    return list(dict.fromkeys(named))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )
