"""Free memory of this machine, and of the device that an estimate is for; imports no torch."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.resources import free_main_memory

if TYPE_CHECKING:
    import torch

HEADROOM = 1.2
"""Factor over the weights: with 32 frames, LLaVA-OneVision-7B needs 19 GB for 16 GB of weights."""

BYTES_PER_PARAMETER = 2
_DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/kfd")  # of NVIDIA, its Jetson, and AMD


@dataclass(frozen=True)
class FreeMemory:
    """Free memory of this machine."""

    ram_bytes: int | None  # of main memory; None if unknown
    # of each CUDA device; empty if there is none, or one can't be queried
    gpu_bytes: tuple[int, ...]

    def given(self, memory: int | None) -> FreeMemory:
        """The same, with so many bytes on the device that is used here; None changes nothing."""
        if memory is None:
            return self
        on_gpu = Target.of("auto", self).device == "cuda"
        return FreeMemory(0, (memory,)) if on_gpu else FreeMemory(memory, ())

    def fits(self, needed: int) -> str | None:
        """Where a number of bytes fits: "gpu", "ram" or "no"; None if unknown."""
        if needed <= max(self.gpu_bytes, default=0):
            return "gpu"
        if self.ram_bytes is None:
            return None
        return "ram" if needed <= self.ram_bytes else "no"


def this_machine() -> FreeMemory:
    """Query the free memory of this machine."""
    return FreeMemory(free_main_memory(), _gpus())


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a device; None if unknown.

    For a CPU: memory available without swapping, within the limit of a container.
    """
    import torch

    if device.type == "cuda":
        return free_on_gpu(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return free_main_memory()


def free_on_gpu(device: torch.device) -> int:
    """Free bytes of a CUDA device, with those that torch holds of it unused; 0 of any other."""
    import torch

    if device.type != "cuda":
        return 0
    used = torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - used


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

    @property
    def most(self) -> int | None:
        """Bytes that an answer may take, on the device or its alternative; None if unknown."""
        return None if self.free is None else max(self.free, self.other or 0)

    def fits(self, needed: int) -> str | None:
        """Where a number of bytes fits: "gpu", "ram" or "no"; None if unknown."""
        if self.free is None:
            return None
        if needed <= self.free:
            return "ram" if self.device == "cpu" else "gpu"
        return "ram" if self.other is not None and needed <= self.other else "no"
