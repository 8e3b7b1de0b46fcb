"""A layer of the stock cache with room for tokens to come.

The stock layer copies all of its entries at every step to append one: with 700 tokens of a 1B in
float32 that moves 300 MB a step.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from dycoke_cli.engine.kv_cache.layer import SPARE_ENTRIES


class RoomyLayer(DynamicLayer):
    """Keys and values `[B, H, S, D]` as in the stock layer, at the beginning of longer memory."""

    keys: torch.Tensor
    values: torch.Tensor
    # Who made the memory, keys and values as they were returned last, and the memory of both.
    _own: tuple[int, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, layer: DynamicLayer) -> RoomyLayer:
        """A layer with the entries of a stock one."""
        made = cls()
        made.__dict__.update(layer.__dict__)
        return made

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append entries `[B, H, N, D]`; return all of them."""
        if not self.is_initialized:
            return super().update(key_states, value_states, *args, **kwargs)
        before, count = self.keys.shape[2], key_states.shape[2]
        own = self._own
        # Whoever crops or reorders puts other tensors in their place, and a copy of this layer has
        # the same memory: none of them may be written behind.
        is_own = own is not None and own[0] == id(self) and own[1] is self.keys
        if own is None or not is_own or before + count > own[3].shape[2]:
            memory = _longer(self.keys, count), _longer(self.values, count)
        else:
            memory = own[3], own[4]
        for stored, states in zip(memory, (key_states, value_states), strict=True):
            stored.narrow(2, before, count).copy_(states)
        self.keys, self.values = (stored.narrow(2, 0, before + count) for stored in memory)
        self._own = (id(self), self.keys, self.values, *memory)
        return self.keys, self.values


def make_room(cache: DynamicCache) -> None:
    """Let the layers of a stock cache, which hold all tokens, have room from the next step on."""
    cache.layers = [RoomyLayer.of(layer) for layer in cache.layers]


def _longer(stored: torch.Tensor, count: int) -> torch.Tensor:
    batch, heads, before, width = stored.shape
    longer = stored.new_empty(batch, heads, before + count + SPARE_ENTRIES, width)
    longer[:, :, :before] = stored
    return longer
