"""A layer of which each step attends to active tokens only, with evicted ones in front of them.

`[evicted | active | text and generated | spare]`: a step reads from the active part on, so what it
attends to is one slice, and no entry is copied for it. The order of keys doesn't matter to softmax:
rotary positions are part of the keys.
"""

from __future__ import annotations

import torch

from dycoke_cli.engine.kv_cache.layer import KVLayer
from dycoke_cli.engine.kv_cache.slots import Swaps


class PrunedLayer(KVLayer):
    """A layer whose entries have slots.

    A prompt that comes in chunks is stored in reading order, which later chunks attend to, until
    the first decoding step.

    Args:
        order: `[B, R]`, int64: for each slot the token of the prompt that it gets.
    """

    def __init__(self, order: torch.Tensor) -> None:
        super().__init__()
        self._order = order
        self._settled = False

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append entries `[B, H, S, D]`; return the keys and values that they attend to."""
        if self.is_initialized or self.expected:
            return super().update(key_states, value_states)
        self._settle(key_states, value_states)
        self.is_initialized = True
        # The prompt itself attends in reading order, under the causal mask.
        return key_states, value_states

    def begin_step(self, swaps: Swaps | None, start: int) -> None:
        """Prepare a decoding step.

        Args:
            swaps: what a new selection changes, or None.
        """
        if not self._settled:
            prompt = slice(0, self.entries)
            self._settle(
                self.keys[:, prompt].transpose(1, 2), self.values[:, prompt].transpose(1, 2)
            )
        if swaps is not None:
            self._swap(swaps)
        self.start = start

    def _settle(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Put the entries of a whole prompt, in reading order, into their slots."""
        order = self._order.to(key_states.device)
        keys, values = in_order(key_states, order), in_order(value_states, order)
        self._allocate(key_states, value_states, order.shape[1])
        self.entries = 0
        self._append(keys, values)
        self._settled = True

    def _swap(self, swaps: Swaps) -> None:
        # Of a model spread over several devices, the selection may come from another one.
        one, other = self._flat(swaps.source), self._flat(swaps.target)
        for stored in (rows_of(self.keys), rows_of(self.values)):
            # Only one side has to be copied away: the other is read before it is written.
            recalled = stored.index_select(0, one)
            stored.index_copy_(0, one, stored.index_select(0, other))
            stored.index_copy_(0, other, recalled)

    def _flat(self, slots: torch.Tensor) -> torch.Tensor:
        # (sequence, slot) as one of `rows_of(keys)`, where a sequence has `capacity` rows.
        # Example: capacity 200; (1, 5) is row 205.
        slots = slots.to(self.keys.device)
        return slots[:, 0] * self.keys.shape[1] + slots[:, 1]


def rows_of(stored: torch.Tensor) -> torch.Tensor:
    """Of `[B, capacity, H, D]` all entries `[B · capacity, H, D]`, as a view to write into."""
    # Not `flatten`, which would copy where that is no view, so that what is written is lost.
    return stored.view(-1, *stored.shape[2:])


def in_order(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Of `[B, H, S, D]` the tokens `[B, R]` of each sequence, in that order: `[B, H, R, D]`."""
    heads, width = states.shape[1], states.shape[3]
    return states.gather(2, order[:, None, :, None].expand(-1, heads, -1, width))
