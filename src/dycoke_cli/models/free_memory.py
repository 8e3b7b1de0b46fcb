"""Memory that is free: on this machine, and on the device that an estimate is for.

Importing this doesn't import torch. `FreeMemory.holds` is the estimate of `dycoke models`.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import Entry
from dycoke_cli.resources import free_main_memory

if TYPE_CHECKING:
    import torch

HEADROOM = 1.2
"""Of the weights: with 32 frames, LLaVA-OneVision-7B takes 19 GB for weights of 16."""

BYTES_PER_PARAMETER = 2

_DEVICE = re.compile(r"(cpu|mps|cuda)(?::(\d+))?")


@dataclass(frozen=True)
class FreeMemory:
    """Memory that is free on this machine.

    Args:
        ram_bytes: main memory, or None where it can't be asked.
        gpu_bytes: of each CUDA device; empty where there is none, or one can't be asked.
    """

    ram_bytes: int | None
    gpu_bytes: tuple[int, ...]

    def holds(self, entry: Entry) -> str | None:
        """Where a model would fit as it is stored: "gpu", "ram" or "no"; None if that isn't known.

        A question of size alone: a large model in main memory is slow.
        """
        if entry.parameters is None:
            return None
        weights = entry.download_bytes or BYTES_PER_PARAMETER * entry.parameters
        return self.fits(int(HEADROOM * weights))

    def fits(self, needed: int) -> str | None:
        """Where so many bytes fit: "gpu", "ram" or "no"; None if that isn't known."""
        if needed <= max(self.gpu_bytes, default=0):
            return "gpu"
        if self.ram_bytes is None:
            return None
        return "ram" if needed <= self.ram_bytes else "no"


def this_machine() -> FreeMemory:
    """Ask the system."""
    return FreeMemory(free_main_memory(), _gpus())


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free, or None where the system doesn't say.

    On a CPU what the system can give without swapping, or what the limit of a container leaves.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return free_main_memory()


def free_memory_of_all() -> int | None:
    """Bytes that are free on all CUDA devices and in main memory, which a spread model shares."""
    import torch

    main = free_main_memory()
    gpus = range(torch.cuda.device_count())
    return None if main is None else main + sum(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)


def _gpus() -> tuple[int, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()  # without a driver there is nothing to ask, nor to wait for torch's import
    import torch

    try:
        return tuple(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count()))
    except RuntimeError:  # a device that another process has for itself, or that is broken
        return ()


@dataclass(frozen=True)
class Target:
    """A device to estimate for.

    Args:
        device: "cuda", "mps" or "cpu".
        free: its memory in bytes; None where it isn't known.
        other: main memory that is free, where the device was chosen automatically and isn't that.
    """

    device: str
    free: int | None
    other: int | None = None

    @classmethod
    def of(cls, device: str, memory: int | None, here: FreeMemory) -> Target:
        """The device that `--device` and `--memory` name.

        Args:
            device: "auto" is the one that would be taken on this machine.
            memory: bytes of it; None takes what is free on this machine.
            here: memory that is free on this machine.

        Raises:
            UsageError: there is no such kind of device.
        """
        if device == "auto":
            if here.gpu_bytes:
                free = max(here.gpu_bytes) if memory is None else memory
                return cls("cuda", free, here.ram_bytes if memory is None else None)
            apple = sys.platform == "darwin" and platform.machine() == "arm64"
            return cls.of("mps" if apple else "cpu", memory, here)
        named = _DEVICE.fullmatch(device)
        if named is None:
            raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, not {device!r}")
        kind, number = named.groups()
        if memory is None:
            gpus = here.gpu_bytes[int(number) :][:1] if number else here.gpu_bytes
            main = here.ram_bytes if kind == "cpu" or sys.platform == "darwin" else None
            memory = max(gpus, default=None) if kind == "cuda" else main
        return cls(kind, memory)

    def fits(self, needed: int) -> str | None:
        """Where so many bytes fit: "gpu", "ram" or "no"; None if that isn't known."""
        if self.free is None:
            return None
        if needed <= self.free:
            return "ram" if self.device == "cpu" else "gpu"
        return "ram" if self.other is not None and needed <= self.other else "no"
