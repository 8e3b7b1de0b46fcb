"""Peak memory of a piece of work, by the allocator of the GPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class PeakMemory:
    """Measures from its making on; on CUDA alone.

    Nothing measures it on a CPU: resident memory is that of the process. It doesn't rise where
    memory that was freed before is used again, and it rises where weights that are mapped from
    their file are read for the first time.

    Args:
        devices: where the work runs: several of a model that is spread over GPUs.
        weights_bytes: of the model on these devices, which stand outside the working memory.
    """

    def __init__(self, devices: Sequence[torch.device], weights_bytes: int) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        self._weights = weights_bytes
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)

    def read(self) -> tuple[int | None, int | None]:
        """Bytes (working, total) at the peak so far, each GPU at its own; None on other devices.

        Working is everything but the weights, what was allocated before included.
        """
        if not self._gpus:
            return None, None
        total = sum(torch.cuda.max_memory_allocated(gpu) for gpu in self._gpus)
        return total - self._weights, total
