"""A layer of the stock cache with room for tokens to come.

The stock layer copies all of its entries at every step to append one: with 700 tokens of a 1B in
float32 that moves 300 MB a step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from dycoke_cli.engine.kv_cache.layer import SPARE_ENTRIES


class _Memory(NamedTuple):
    owner: int  # `id` of the layer that made it: a copy of the layer refers to it, too
    returned: torch.Tensor  # keys as the layer returned them last
    keys: torch.Tensor  # `[B, H, C, D]`
    values: torch.Tensor


class RoomyLayer(DynamicLayer):
    """Keys and values `[B, H, S, D]` as in the stock layer, at the beginning of longer memory."""

    keys: torch.Tensor
    values: torch.Tensor
    _memory: _Memory | None = None

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
        memory, end = self._memory, before + count
        # Whoever crops or reorders puts other tensors in their place, and a copy of this layer has
        # the same memory: none of them may be written behind.
        is_own = memory and memory.owner == id(self) and memory.returned is self.keys
        if memory is None or not is_own or end > memory.keys.shape[2]:
            keys, values = _longer(self.keys, count), _longer(self.values, count)
        else:
            keys, values = memory.keys, memory.values
        keys.narrow(2, before, count).copy_(key_states)
        values.narrow(2, before, count).copy_(value_states)
        self.keys, self.values = keys.narrow(2, 0, end), values.narrow(2, 0, end)
        self._memory = _Memory(id(self), self.keys, keys, values)
        return self.keys, self.values


def make_room(cache: DynamicCache) -> None:
    """Let the layers of a stock cache, which hold all tokens, have room from the next step on."""
    cache.layers = [RoomyLayer.of(layer) for layer in cache.layers]


def _longer(stored: torch.Tensor, count: int) -> torch.Tensor:
    batch, heads, before, width = stored.shape
    longer = stored.new_empty(batch, heads, before + count + SPARE_ENTRIES, width)
    longer[:, :, :before] = stored
    return longer
