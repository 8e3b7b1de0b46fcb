"""Devices of this machine: their names, their free memory, and the dtype of weights on them.

Most checkpoints are stored in bfloat16. A CPU without instructions for it, or with slow ones, takes
1.5 to six times as long in bfloat16 as in float32, which takes twice the memory. Imports no torch.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.answer.json_schema import Count, Doc
from dycoke_cli.errors import UsageError
from dycoke_cli.kernels.processor import instructions, is_slow_in_bfloat16
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.resources import free_main_memory

if TYPE_CHECKING:
    import torch


HEADROOM = 1.2
"""Factor over the weights: with 32 frames, LLaVA-OneVision-7B needs 19 GB for 16 GB of weights."""

BYTES_PER_PARAMETER = 2
_DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/kfd")  # of NVIDIA, its Jetson, and AMD


@dataclass(frozen=True)
class FreeMemory:
    """Memory that is free on this machine; no GPU if one can't be queried."""

    ram_bytes: Annotated[int | None, Doc(minimum=0)]  # of main memory; None if unknown
    # empty if there is none, or one can't be queried
    gpu_bytes: Annotated[tuple[Count, ...], Doc("Of each NVIDIA GPU.")]


def this_machine() -> FreeMemory:
    """Query the free memory of this machine."""
    return FreeMemory(free_main_memory(), _gpus())


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a device; None if unknown.

    For a CPU: memory available without swapping, within the limit of a container.
    """
    import torch

    if device.type == "cuda":
        # With what torch holds unused.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return free_main_memory()


def free_memory_of_all() -> int | None:
    """Free bytes of all CUDA devices and main memory together, for a model with a device map."""
    import torch

    main = free_main_memory()
    gpus = range(torch.cuda.device_count())
    return None if main is None else main + sum(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)


def _gpus() -> tuple[int, ...]:
    if shutil.which("nvidia-smi") is None and not any(map(os.path.exists, _DRIVERS)):
        return ()  # skip the import of torch, which takes a second
    import torch

    try:
        return tuple(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count()))
    except RuntimeError:  # a device in another process's exclusive mode, or a broken one
        return ()


@dataclass(frozen=True)
class Target:
    """Device that an estimate is for."""

    device: str  # "cuda", "mps" or "cpu"
    free: int | None  # its free memory in bytes; None if unknown
    # free main memory as an alternative, if a GPU was chosen automatically
    other: int | None = None

    @classmethod
    def of(cls, device: str, here: FreeMemory) -> Target:
        """The target that `--device` names.

        The device may be one that this machine doesn't have, so torch isn't asked for it.
        """
        if device == "auto":
            if here.gpu_bytes:
                return cls("cuda", here.gpu_bytes[0], here.ram_bytes)  # that which is loaded onto
            apple = sys.platform == "darwin" and platform.machine() == "arm64"
            return cls.of("mps" if apple else "cpu", here)
        kind, _, number = device.partition(":")
        gpus = here.gpu_bytes[int(number or 0) :][:1]
        # Apple's GPUs share main memory.
        main = here.ram_bytes if kind == "cpu" or sys.platform == "darwin" else None
        return cls(kind, next(iter(gpus), None) if kind == "cuda" else main)

    def fits(self, needed: int) -> str | None:
        """Where a number of bytes fits: "gpu", "ram" or "no"; None if unknown."""
        if self.free is None:
            return None
        if needed <= self.free:
            return "ram" if self.device == "cpu" else "gpu"
        return "ram" if self.other is not None and needed <= self.other else "no"


_HALF = ("bfloat16", "float16")
# Weights in float32 that are never too large, such as those of the bundled model.
_SMALL = 256 << 20


def weight_dtype(
    options: LoadOptions,
    stored: str,
    nbytes: Callable[[], int | None],
    *,
    quantized: bool = False,
    cpu: bool,
    free: int | None,
    copies: int = 1,
) -> str:
    """Dtype that a model is loaded in on this machine.

    "auto" is the stored dtype, except for a checkpoint in 16 bits on a CPU: float32 if the CPU
    is slow in bfloat16 and float32 fits, otherwise bfloat16, because CPUs convert every operand of
    float16.

    Args:
        stored: dtype of the checkpoint, such as "bfloat16".
        nbytes: returns the bytes of its files, or None if unknown; it may ask the hub.
        quantized: whether the checkpoint is quantized.
        free: free bytes of main memory; None if unknown.
    """
    if options.dtype != "auto":
        return options.dtype
    if not cpu or stored not in _HALF:
        return stored
    # bitsandbytes and stored quantized weights are computed in bfloat16 everywhere.
    if options.quantize == "int4" or quantized or not is_slow_in_bfloat16(instructions()):
        return "bfloat16"
    size = 2 * copies * (nbytes() or 0)
    fits = size <= _SMALL or (free is not None and HEADROOM * size <= free)
    return "float32" if size and fits else "bfloat16"


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
    import torch

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


def input_device(model: Any) -> torch.device:
    """Device that token ids and pixels are moved to.

    With a device map that is the first accelerator, where accelerate also runs offloaded layers.
    `model.device` isn't usable then: it is the device of the first parameter, which may be "meta"
    for an offloaded layer.
    """
    return working_devices(model)[0]


def working_devices(model: Any) -> list[torch.device]:
    """Devices on which a model computes; offloaded layers are copied there for each forward."""
    import torch

    if not has_device_map(model):
        return [model.device]
    compute = [torch.device(name) for name in device_names(model) if name not in _OFFLOADED]
    return compute or [torch.device("cpu")]


def has_device_map(model: Any) -> bool:
    """Whether a device map distributes a model over more than one device."""
    return len(device_names(model)) > 1


def device_names(model: Any) -> list[str]:
    """All devices that hold a part of a model, in layer order, such as "cuda:0" and "cpu"."""
    devices = getattr(model, "hf_device_map", {"": model.device}).values()
    # accelerate numbers CUDA devices and names others.
    names = [f"cuda:{device}" if isinstance(device, int) else str(device) for device in devices]
    return list(dict.fromkeys(names))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    torch: Any = sys.modules.get("torch")  # importing it takes a second, and it can't have raised
    return (
        isinstance(error, MemoryError)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or (isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY))
    )
