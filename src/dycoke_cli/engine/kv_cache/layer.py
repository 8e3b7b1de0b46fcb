"""The KV entries of one layer in reading order: `[all entries | spare]`.

In a batch, each sequence is padded left, so that all of them end together.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import CacheLayerMixin

from dycoke_cli.errors import UsageError

# Room for generated tokens: without it each step would copy the whole cache to append one entry.
SPARE_ENTRIES = 128


class KVLayer(CacheLayerMixin):
    """Keys and values, stored row-major: `[B, capacity, H, D]`, handed out transposed.

    In row-major order the heads of an entry are adjacent, so a swap of entries copies whole lines.

    Attributes:
        entries: how many each sequence has.
        start: the first of them that a step attends to.
        expected: entries of a prompt that comes in chunks, for which memory is taken at once; 0
            for one that comes whole.
    """

    keys: torch.Tensor
    values: torch.Tensor
    is_sliding = False
    is_compileable = False
    is_croppable = False

    def __init__(self) -> None:
        super().__init__()
        self.start = 0
        self.entries = 0
        self.expected = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate for a prompt, `[B, H, S, D]` or a chunk of it, and some tokens to come."""
        self._allocate(key_states, value_states, max(self.expected, key_states.shape[2]))
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append entries `[B, H, S, D]`; return the keys and values that they attend to."""
        # A prompt attends to its own states: contiguous ones, where stored ones are transposed.
        first = not self.is_initialized
        if first:
            self.lazy_initialization(key_states, value_states)
        self._append(key_states, value_states)
        return (key_states, value_states) if first else self.attended()

    def attended(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values `[B, H, entries - start, D]` from `start` on, as views."""
        stretch = self.start, self.entries - self.start
        keys, values = self.keys.narrow(1, *stretch), self.values.narrow(1, *stretch)
        return keys.transpose(1, 2), values.transpose(1, 2)

    @property
    def nbytes(self) -> int:
        """Bytes on the device, spare entries included."""
        return self.keys.nbytes + self.values.nbytes if self.is_initialized else 0

    @property
    def active_nbytes(self) -> int:
        """Bytes of the entries that the last step attended to."""
        if not self.is_initialized:
            return 0
        allocated = self.keys.nbytes + self.values.nbytes
        return allocated // self.keys.shape[1] * (self.entries - self.start)

    def _append(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        end = self.entries + key_states.shape[2]
        if end > self.keys.shape[1]:
            self.keys = self._grow(self.keys, end)
            self.values = self._grow(self.values, end)
        new = self.entries, key_states.shape[2]
        self.keys.narrow(1, *new).copy_(key_states.transpose(1, 2))
        self.values.narrow(1, *new).copy_(value_states.transpose(1, 2))
        self.entries = end

    def _grow(self, stored: torch.Tensor, needed: int) -> torch.Tensor:
        grown = stored.new_empty(stored.shape[0], needed + SPARE_ENTRIES, *stored.shape[2:])
        grown[:, : self.entries] = stored[:, : self.entries]
        return grown

    def _allocate(self, key_states: torch.Tensor, value_states: torch.Tensor, entries: int) -> None:
        """Take memory for so many entries like these, `[B, H, *, D]`, and some to come."""
        self.dtype, self.device = key_states.dtype, key_states.device
        capacity = entries + SPARE_ENTRIES
        self.keys, self.values = (
            states.new_empty(states.shape[0], capacity, states.shape[1], states.shape[3])
            for states in (key_states, value_states)
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(key length, offset) for the mask of a query of `query_length` tokens."""
        return self.entries - self.start + int(query_length), 0

    def get_seq_length(self) -> int:
        """Entries in the cache."""
        return self.entries

    def get_max_length(self) -> int:
        """No maximum."""
        return -1

    def get_max_cache_shape(self) -> int:
        """No maximum (the name of `get_max_length` in older versions)."""
        return -1

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Refuse: each beam would need a selection of its own."""
        raise UsageError("beam search isn't supported with a compression method attached")

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: a selection once made can't be taken back."""
        raise UsageError(
            "assisted generation and prompt lookup aren't supported with a compression method "
            "attached"
        )
