"""What memory this machine has to spare, asked without importing torch; and what fits in it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from dycoke_cli.models.catalog import Entry
from dycoke_cli.resources import free_main_memory

HEADROOM = 1.2
"""Of the weights: with 32 frames, LLaVA-OneVision-7B takes 19 GB for weights of 16."""

BYTES_PER_PARAMETER = 2
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Machine:
    """Memory that is free.

    Args:
        ram_bytes: main memory, or None where it can't be asked.
        gpu_bytes: of each NVIDIA GPU; empty where there is none, or none that can be asked.
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
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    try:
        done = subprocess.run(
            [command, "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
        )
        return tuple(int(line) * 1024**2 for line in done.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
