"""Rows of keys, or of values, that stay in main memory; what is needed of them is fetched."""

from __future__ import annotations

import torch


class HostRows:
    """Rows `[N, H, D]` that never change, so nothing is ever written back.

    On CUDA they are pinned: the copy out runs beside what the accelerator does next, and what
    comes back is copied without the caller waiting for it.

    Args:
        rows: on the device.
    """

    def __init__(self, rows: torch.Tensor) -> None:
        self._device = rows.device
        self._pinned = rows.device.type == "cuda"
        self._rows = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=self._pinned)
        self._rows.copy_(rows, non_blocking=self._pinned)
        self._written: torch.cuda.Event | None = None
        if self._pinned:
            self._written = torch.cuda.Event()
            self._written.record(torch.cuda.current_stream(rows.device))

    def fetch(self, which: torch.Tensor) -> torch.Tensor:
        """The rows `[n, H, D]` with the numbers `which[n]`, int64, on the CPU; on the device."""
        if self._written is not None:
            self._written.synchronize()  # the copy out may still be under way
            self._written = None
        if not self._pinned:
            return self._rows.index_select(0, which).to(self._device)
        shape = (len(which), *self._rows.shape[1:])
        staged = torch.empty(shape, dtype=self._rows.dtype, pin_memory=True)
        torch.index_select(self._rows, 0, which, out=staged)
        # torch gives pinned memory to nobody else before the copies that read it are done.
        return staged.to(self._device, non_blocking=True)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return self._rows.nbytes
