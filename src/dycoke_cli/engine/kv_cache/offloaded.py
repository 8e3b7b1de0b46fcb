"""A pruned layer whose visual tokens are in main memory; the device holds what a step reads."""

from __future__ import annotations

import torch

from dycoke_cli.engine.kv_cache.pruned import PrunedLayer, rows_of
from dycoke_cli.engine.kv_cache.slots import Swaps


class OffloadedLayer(PrunedLayer):
    """On the device `[active | text and generated | spare]`; in main memory all visual tokens.

    They are copied there during prefill, layer by layer, so that most of a long prompt never stays
    on the device. A new selection fetches its tokens into the slots of those that it evicts.

    Args:
        order: `[B, R]`, int64: for each slot the token of the prompt that it gets.
        visual: `[V, 2]`, int64: (sequence, token of the prompt) of all visual tokens.
    """

    def __init__(self, order: torch.Tensor, visual: torch.Tensor, base: int) -> None:
        super().__init__(order[:, base:])
        self._visual, self._first_on_device = visual, base
        self._host: tuple[PinnedHostBuffer, PinnedHostBuffer] | None = None

    def _settle(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        sequence, token = self._visual.to(key_states.device).unbind(1)
        self._host = (
            PinnedHostBuffer(key_states[sequence, :, token]),
            PinnedHostBuffer(value_states[sequence, :, token]),
        )
        super()._settle(key_states, value_states)
        self.base = self._first_on_device

    def _swap(self, swaps: Swaps, start: int) -> None:
        assert self._host is not None
        # Nothing is written back: entries never change, and main memory has all of them.
        if start < self.base:  # the first selection, or a larger one: room in front for its tokens
            self.keys, self.values = (self._with_room(x, start) for x in (self.keys, self.values))
            self.entries += self.base - start
            self.base = start
        target = self._flat(swaps.target)
        for stored, host in zip((self.keys, self.values), self._host, strict=True):
            rows_of(stored).index_copy_(0, target, host.fetch(swaps.tokens))

    def _with_room(self, stored: torch.Tensor, start: int) -> torch.Tensor:
        """Entries `[B, capacity, H, D]` from slot `start` on."""
        more = self.base - start
        wider = stored.new_empty(stored.shape[0], more + stored.shape[1], *stored.shape[2:])
        # Slots that no selection fills are masked. Memory that was never written may hold NaN, and
        # NaN times a weight of 0 is NaN.
        wider[:, :more] = 0
        wider[:, more : more + self.entries] = stored[:, : self.entries]
        return wider

    @property
    def host_nbytes(self) -> int:
        """Bytes in main memory."""
        return 0 if self._host is None else sum(buffer.nbytes for buffer in self._host)


class PinnedHostBuffer:
    """Entries `[N, H, D]` of keys, or of values, in main memory; those needed are fetched.

    They never change, so nothing is written back. On CUDA the memory is pinned: both copies are
    asynchronous, so the copy out overlaps with the next layers, and the caller doesn't wait for
    what it fetches.
    """

    def __init__(self, entries: torch.Tensor) -> None:
        self._device = entries.device
        self._pinned = entries.device.type == "cuda"
        self._entries = torch.empty(entries.shape, dtype=entries.dtype, pin_memory=self._pinned)
        self._entries.copy_(entries, non_blocking=self._pinned)
        self._written: torch.cuda.Event | None = None
        if self._pinned:
            self._written = torch.cuda.Event()
            self._written.record(torch.cuda.current_stream(entries.device))

    def fetch(self, which: torch.Tensor) -> torch.Tensor:
        """The entries `[n, H, D]` numbered `which[n]`, int64, on the CPU; on the device."""
        if self._written is not None:
            self._written.synchronize()  # the copy out may still be under way
            self._written = None
        if not self._pinned:
            return self._entries.index_select(0, which).to(self._device)
        shape = (len(which), *self._entries.shape[1:])
        staged = torch.empty(shape, dtype=self._entries.dtype, pin_memory=True)
        torch.index_select(self._entries, 0, which, out=staged)
        # torch gives pinned memory to nobody else before the copies that read it are done.
        return staged.to(self._device, non_blocking=True)

    @property
    def nbytes(self) -> int:
        """Bytes of the entries."""
        return self._entries.nbytes
