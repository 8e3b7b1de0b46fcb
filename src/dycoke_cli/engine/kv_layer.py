"""The KV rows of one layer, laid out so that a step reads one contiguous stretch of them.

A layer that attends to everything keeps reading order:  `[all rows | spare]`.
A pruned layer keeps `[waiting | active | text and generated | spare]` and reads from the active
part on. Softmax doesn't care for the order of keys, for their rotary positions are in them. In a
batch, padding stands in front of each row, so that all rows end together.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import CacheLayerMixin

from dycoke_cli.errors import UsageError

SPARE_ROWS = 128


class KVLayer(CacheLayerMixin):
    """Rows of keys and values, stored row-major: `[B, capacity, H, D]`, handed out transposed.

    Row-major, a swap of a few hundred rows moves whole lines of memory.

    Args:
        order: `[B, S]`, int64: the order in which the rows of the prefill are stored, or None for
            reading order.
    """

    keys: torch.Tensor
    values: torch.Tensor
    is_sliding = False
    is_compileable = False
    is_croppable = False

    def __init__(self, order: torch.Tensor | None = None) -> None:
        super().__init__()
        self.order = order
        self.start = 0
        self.rows = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate for the rows of a prefill, `[B, H, S, D]`, and some to come."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = self._allocate(key_states, key_states.shape[2] + SPARE_ROWS)
        self.values = self._allocate(value_states, key_states.shape[2] + SPARE_ROWS)
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append rows `[B, H, S, D]`; return the keys and values that the step attends to."""
        if self.is_initialized:
            self._append(key_states, value_states)
            return self.attended()
        self.lazy_initialization(key_states, value_states)
        # The prefill itself attends in reading order, under the causal mask.
        if self.order is None:
            self._append(key_states, value_states)
        else:
            order = self.order.to(key_states.device)
            self._append(_in_order(key_states, order), _in_order(value_states, order))
        return key_states, value_states

    def attended(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values `[B, H, rows - start, D]` from `start` on, as views."""
        stretch = slice(self.start, self.rows)
        return self.keys[:, stretch].transpose(1, 2), self.values[:, stretch].transpose(1, 2)

    def swap(self, first: torch.Tensor, second: torch.Tensor) -> None:
        """Exchange what is held at `first[i]` with what is held at `second[i]`, for each i.

        Args:
            first: `[n, 2]`, int64: (row of the batch, slot); all slots are distinct.
            second: the same.
        """
        # Of a model spread over several devices, the choice may come from another one.
        one, other = (self._flat(slots.to(self.keys.device)) for slots in (first, second))
        for rows in (self.keys.flatten(0, 1), self.values.flatten(0, 1)):
            moved = rows.index_select(0, one)
            rows.index_copy_(0, one, rows.index_select(0, other))
            rows.index_copy_(0, other, moved)

    def _flat(self, slots: torch.Tensor) -> torch.Tensor:
        return slots[:, 0] * self.keys.shape[1] + slots[:, 1]

    def discard(self, rows: int) -> None:
        """Free the first `rows` rows for good."""
        self.keys = self.keys[:, rows:].clone()
        self.values = self.values[:, rows:].clone()
        self.rows -= rows

    @property
    def nbytes(self) -> int:
        """Bytes held, spare rows included."""
        return self.keys.nbytes + self.values.nbytes if self.is_initialized else 0

    @property
    def active_nbytes(self) -> int:
        """Bytes of the rows that the last step read."""
        if not self.is_initialized:
            return 0
        return (self.nbytes // self.keys.shape[1]) * (self.rows - self.start)

    def _append(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        end = self.rows + key_states.shape[2]
        if end > self.keys.shape[1]:
            self.keys = self._grow(self.keys, end)
            self.values = self._grow(self.values, end)
        self.keys[:, self.rows : end] = key_states.transpose(1, 2)
        self.values[:, self.rows : end] = value_states.transpose(1, 2)
        self.rows = end

    def _grow(self, rows: torch.Tensor, needed: int) -> torch.Tensor:
        grown = rows.new_empty(rows.shape[0], needed + SPARE_ROWS, *rows.shape[2:])
        grown[:, : self.rows] = rows[:, : self.rows]
        return grown

    @staticmethod
    def _allocate(states: torch.Tensor, capacity: int) -> torch.Tensor:
        batch, heads, _, width = states.shape
        return states.new_empty(batch, capacity, heads, width)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(key length, offset) for the mask of a query of `query_length` tokens."""
        return self.rows - self.start + int(query_length), 0

    def get_seq_length(self) -> int:
        """Rows held."""
        return self.rows

    def get_max_length(self) -> int:
        """No maximum."""
        return -1

    def get_max_cache_shape(self) -> int:
        """No maximum (the name of `get_max_length` in older versions)."""
        return -1

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Refuse: each beam would need a choice of its own."""
        raise UsageError("beam search isn't supported with a compression method attached")

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: a choice once made can't be taken back."""
        raise UsageError(
            "assisted generation and prompt lookup aren't supported with a compression method "
            "attached"
        )


def _in_order(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Rows of `[B, H, S, D]` in the order `[B, S]` of their row of the batch."""
    heads, width = states.shape[1], states.shape[3]
    return states.gather(2, order[:, None, :, None].expand(-1, heads, -1, width))
