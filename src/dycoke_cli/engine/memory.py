"""Peak memory of a piece of work: the allocator's on CUDA, resident memory on Linux CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one


class PeakMemory:
    """Measures from its making on.

    Args:
        devices: where the work runs: several of a model that is spread over GPUs.
        weights_bytes: of the model on these devices, which stand outside the working memory.
    """

    def __init__(self, devices: Sequence[torch.device], weights_bytes: int) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        self._weights = weights_bytes
        self._resident = None
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)
        if all(device.type == "cpu" for device in devices) and _reset_resident_peak():
            self._resident = _status_bytes("VmRSS")

    def read(self) -> tuple[int | None, int | None]:
        """Bytes (working, total) at the peak so far, None where they can't be measured.

        Working is everything but the weights: on CUDA by the allocator, each GPU at its own peak,
        on a CPU the rise of resident memory since the start.
        """
        if self._gpus:
            total = sum(torch.cuda.max_memory_allocated(gpu) for gpu in self._gpus)
            return total - self._weights, total
        if self._resident is None:
            return None, None
        # The two are counted apart, each a little late, and may cross where nothing rose.
        peak = max(_status_bytes("VmHWM"), self._resident)
        return peak - self._resident, peak


def _reset_resident_peak() -> bool:
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:  # not Linux, or not allowed in this container
        return False
    return True


def _status_bytes(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024
