"""What memory this machine has to spare, and what fits in it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from dycoke_cli.models.catalog import Entry
from dycoke_cli.resources import free_main_memory

HEADROOM = 1.2
"""Of the weights: with 32 frames, LLaVA-OneVision-7B takes 19 GB for weights of 16."""

BYTES_PER_PARAMETER = 2


@dataclass(frozen=True)
class Machine:
    """Memory that is free.

    Args:
        ram_bytes: main memory, or None where it can't be asked.
        gpu_bytes: of each CUDA device; empty where there is none, or one
            can't be asked.
    """

    ram_bytes: int | None
    gpu_bytes: tuple[int, ...]

    def holds(self, entry: Entry) -> str | None:
        """Where a model would fit as it is stored: "gpu", "ram" or "no"; None if that isn't known.

        A question of size alone: a large model in main memory is slow.
        """
        if entry.parameters is None or (self.ram_bytes is None and not self.gpu_bytes):
            return None
        weights = entry.download_bytes or BYTES_PER_PARAMETER * entry.parameters
        if HEADROOM * weights <= max(self.gpu_bytes, default=0):
            return "gpu"
        if self.ram_bytes is None:
            return None
        return "ram" if HEADROOM * weights <= self.ram_bytes else "no"


def this_machine() -> Machine:
    """Ask the system."""
    return Machine(free_main_memory(), _gpus())


def _gpus() -> tuple[int, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()  # without a driver there is nothing to ask, nor to wait for torch's import
    import torch

    try:
        return tuple(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count()))
    except RuntimeError:  # a device that another process has for itself, or that is broken
        return ()
