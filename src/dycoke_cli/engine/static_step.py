"""A decoding step on storage that stays where it is, which a CUDA graph can record.

Every run launches the same operations on the same memory: the length of the cache, the selection of
tokens and the counts of a step are on the device, and the host waits for nothing.

What differs from the steps of `flat_decode`, besides the order of sums:

- Layers attend to all of their storage, under a mask. A new selection of DyCoke changes the mask of
  the pruned layers, and swaps no entries, since the number of swaps isn't constant. Entries stay
  where the first selection put them. Reading the evicted ones, too, takes 0.3 ms of the step of a
  7B about 128 frames.
- The device decides whether a step reselects, and counts what changed (`_Counts`).

The layers of the call's cache become views of the storage, and its selectors hold the tensors that
a step changes, so that a step of another kind may follow at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.engine.generation_state import GenerationState, ShortenedSequence
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.kv_cache import layer as kv_layer
from dycoke_cli.engine.kv_cache.layer import KVLayer

# One query has too few rows to keep a GPU busy: sums over all tokens are made in this many parts.
PARTS = 32
# Entries of a part are a multiple of this: GPUs read 16 bytes at once, and a weight has two.
ALIGNED = 8


class StaticStep:
    """The steps of a call from one on, and the storage that they run on.

    Args:
        layers: of the decoder, as `flat_decode` has them.
        norm: behind them.
        rotary: the decoder's module of rotary positions.
        cache: of the call. It isn't kept alive.
        state: of a call with a method, or None.
        hidden: `[B, 1, D]`, the embeddings of a step.
        positions: of its tokens, as `rotary` takes them.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        norm: Any,
        rotary: Any,
        cache: Any,
        state: GenerationState | None,
        hidden: torch.Tensor,
        positions: torch.Tensor,
    ) -> None:
        self._layers, self._norm, self._rotary = layers, norm, rotary
        self._kv_layers = list(cache.layers)
        self._entries: int = cache.layers[0].get_seq_length()
        rounded = PARTS * ALIGNED
        self._capacity = -(-(self._entries + kv_layer.SPARE_ENTRIES) // rounded) * rounded
        self._storages = [_moved(layer, self._entries, self._capacity) for layer in cache.layers]
        # What a step reads: embeddings `[B, D]`, positions, and how many entries there are.
        self._hidden, self._positions = hidden[:, 0].clone(), positions.clone()
        self._length = torch.full((1,), self._entries, device=hidden.device)
        # Added to logits, which have float32 at least: `[2, B, C]`, of plain and of pruned layers.
        wide = torch.promote_types(hidden.dtype, torch.float32)
        shape = 2, len(hidden), self._capacity
        self._masks = torch.full(shape, -torch.inf, dtype=wide, device=hidden.device)
        store = cache if isinstance(cache, KVStore) else None
        for number, padding in enumerate([0] if store is None else store.paddings):
            self._masks[:, number, padding : self._entries] = 0.0
        self._first_pruned = len(layers) if store is None else store.first_pruned
        self._selections = [] if store is None or state is None else _selections(store, state)
        for one in self._selections:
            one.show(self._masks)
        self._counts = _Counts(self._selections, self._entries, self._capacity, hidden.device)
        first = layers[0]
        self._same = torch.eye(first.width, device=hidden.device, dtype=hidden.dtype)
        # Of [a, b] it gives [-b, a].
        half = self._same.roll(first.width // 2, 0)
        self._turned = torch.where(half.tril() > 0, -half, half)
        outputs = sum(part.out_features for part in (first.query, first.key, first.value))
        self._projected = hidden.new_empty(len(hidden), outputs)
        self._changed = [self._length, self._masks, self._counts.changed]
        self._changed += [t for one in self._selections for t in (one.active, one.reference)]
        self._before: list[torch.Tensor] = []

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more token."""
        return self._entries == self._capacity

    def follows(self, sequences: int) -> bool:
        """Whether so many sequences read their next token here: nobody else has made a step."""
        length: int = self._kv_layers[0].get_seq_length()
        return sequences == len(self._hidden) and length == self._entries

    def read(self, hidden: torch.Tensor, positions: torch.Tensor) -> None:
        """Set what the next run reads: embeddings `[B, 1, D]`, and positions."""
        self._hidden.copy_(hidden[:, 0])
        self._positions.copy_(positions)

    def count(self) -> None:
        """Let the cache have the entries of the newest run."""
        self._entries += 1
        self._counts.steps += 1
        for layer, storage in zip(self._kv_layers, self._storages, strict=True):
            _set_length(layer, storage, self._entries)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """A block behind which the runs in it have changed nothing."""
        self._before = [tensor.clone() for tensor in self._changed]
        try:
            yield
        finally:
            self.rewind()
            self._before = []

    def rewind(self) -> None:
        """Undo what runs have changed since the block of `undone` began."""
        # Entries may stay: each run of a step writes the same ones, to the same place.
        for tensor, value in zip(self._changed, self._before, strict=True):
            tensor.copy_(value)

    def run(self) -> torch.Tensor:
        """Make the step: the last hidden states `[B, D]`."""
        hidden = self._hidden.clone()
        self._masks.index_fill_(2, self._length, 0.0)
        rotation = self._rotation()
        for number in range(len(self._layers)):
            self._pass(number, hidden, rotation)
        self._length.add_(1)
        last: torch.Tensor = self._norm.at_once(hidden)
        return last

    def _rotation(self) -> torch.Tensor:
        """The matrices `[B, W, W]` that rotate queries and keys of a head, `[N, W]`.

        One product takes the place of three operations: each number that it gives is the sum of two
        that aren't 0, as with `rotate_half`.
        """
        cosine, sine = self._rotary(self._hidden[:, None], self._positions)
        return torch.addcmul(self._same * cosine, self._turned, sine)

    def _pass(self, number: int, hidden: torch.Tensor, rotation: torch.Tensor) -> None:
        """Change the hidden states `[B, D]` into those behind a layer."""
        layer, width = self._layers[number], self._layers[number].width
        normed = layer.before_attention.at_once(hidden)
        parts = (layer.query, layer.key, layer.value)
        outputs = self._projected.split([part.out_features for part in parts], 1)
        for part, output in zip(parts, outputs, strict=True):
            _project(part, normed, output)
        query, key, value = (output.unflatten(1, (-1, width)) for output in outputs)
        both = self._projected[:, : -value.shape[1] * width].unflatten(1, (-1, width))
        if layer.norms is not None:
            both = torch.cat((layer.norms[0].at_once(query), layer.norms[1].at_once(key)), 1)
        query, key = torch.bmm(both, rotation).split((query.shape[1], key.shape[1]), 1)
        _add_projected(layer.output, self._attend(number, query, key, value), hidden)
        normed = layer.before_mlp.at_once(hidden)
        gate = layer.activation(F.linear(normed, layer.gate.weight, layer.gate.bias))
        up = F.linear(normed, layer.up.weight, layer.up.bias)
        _add_projected(layer.down, gate * up, hidden)

    def _attend(
        self, number: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """The output `[B, Hq · W]` of attention in a layer.

        Args:
            query: of the new tokens, `[B, Hq, W]`.
            key: `[B, H, W]`, which the storage gets, as the value.
        """
        storage = self._storages[number]
        _, heads, batch, capacity, width = storage.shape
        for part, new in zip(storage.unbind(0), (key, value), strict=True):
            part.index_copy_(2, self._length, new.transpose(0, 1)[:, :, None])
        keys, values = storage.flatten(1, 2).unbind(0)
        # Query heads of one KV head follow each other: G for each.
        grouped = query.view(batch, heads, -1, width).transpose(0, 1).flatten(0, 1)
        logits = _logits(grouped, keys.transpose(1, 2)).view(heads, batch, -1, capacity)
        mask = self._masks[int(number >= self._first_pruned), :, None]
        weights = torch.add(mask, logits, alpha=self._layers[number].scaling).softmax(-1)
        if number == self._first_pruned - 1:
            self._select(weights)
        parts = weights.view(heads * batch, -1, PARTS, capacity // PARTS).transpose(1, 2)
        parts = parts.to(query.dtype, memory_format=torch.contiguous_format).flatten(0, 1)
        sums = torch.bmm(parts, values.reshape(len(parts), -1, width))
        attended = sums.view(heads, batch, PARTS, -1, width).sum(2)
        return attended.transpose(0, 1).reshape(batch, -1)

    def _select(self, weights: torch.Tensor) -> None:
        """Make the selections of the step, from the attention `[H, B, G, C]` of a layer."""
        reselecting = [one for one in self._selections if not one.selector.one_shot]
        if not reselecting:
            return
        attention = weights.float().mean((0, 2))
        counted = []
        for one in reselecting:
            moved = one.selector.step_in_place(attention[one.number].index_select(0, one.places))
            counted += [moved.long(), one.show(self._masks)]
        self._counts.put(self._length, torch.stack(counted))


@dataclass(frozen=True)
class _Selection:
    """What a sequence attends to in pruned layers."""

    number: int  # of the sequence in the batch
    sequence: ShortenedSequence
    selector: VisualSelector
    places: torch.Tensor  # `[V]`, int64: of its visual tokens in plain layers
    slots: torch.Tensor  # `[V]`, int64: the same in pruned layers
    active: torch.Tensor  # `[A]`, int64: the visual tokens that it attends to
    reference: torch.Tensor  # `[V]`, float32: the attention that they were selected by

    def show(self, masks: torch.Tensor) -> torch.Tensor:
        """Mask what isn't active; return how many visual tokens that changes, `[]`, int64.

        Args:
            masks: `[2, B, C]`, of which the second is that of the pruned layers.
        """
        mask = masks[1, self.number]
        before = mask.index_select(0, self.slots)
        after = torch.full_like(before, -torch.inf).index_fill_(0, self.active, 0.0)
        mask.index_copy_(0, self.slots, after)
        return (after != before).sum()


class _Counts:
    """What steps changed in the selections, on the device until somebody reads it.

    It keeps no storage alive: statistics are read when the call is over.

    Attributes:
        steps: how many were made.
        changed: `[2 · N, steps]`, int64: of each of the N selections that may change, whether a
            step made a new one, and how many tokens it evicted and recalled.
    """

    def __init__(
        self, selections: Sequence[_Selection], first: int, end: int, device: torch.device
    ) -> None:
        self.steps = 0
        self._first, self._read = first, 0
        self._counted = [(one.sequence.stats, one.selector, len(one.active)) for one in selections]
        changing = sum(not one.selector.one_shot for one in selections)
        self.changed = torch.zeros(2 * changing, end - first, dtype=torch.int64, device=device)
        for one in selections:
            one.sequence.stats.follow(one.active, self.settle)

    def put(self, length: torch.Tensor, counted: torch.Tensor) -> None:
        """Note what a step changed, `[2 · N]`, with so many entries in the cache, `[1]`."""
        self.changed.index_copy_(1, length - self._first, counted[:, None])

    def settle(self) -> None:
        """Add what isn't yet in the statistics, and in the selectors' numbers of reselections."""
        new = iter(self.changed[:, self._read : self.steps].tolist())
        nothing = [0] * (self.steps - self._read)
        self._read = self.steps
        for stats, selector, active in self._counted:
            renewed, changed = (nothing, nothing) if selector.one_shot else (next(new), next(new))
            for is_new, count in zip(renewed, changed, strict=True):
                selector.reselections += is_new
                # As many tokens are active as before, so as many were recalled as evicted.
                stats.count(active, count // 2, count // 2, selector.reselections)


def _selections(store: KVStore, state: GenerationState) -> list[_Selection]:
    """Those of a call, behind the first step."""
    found = []
    for number, sequence in enumerate(state.sequences):
        selector = sequence.selector
        held = selector.held() if isinstance(selector, VisualSelector) else None
        if isinstance(selector, VisualSelector) and held is not None:
            slots = store.slots[number].slot_of.to(held[0].device)
            places = sequence.visual.to(held[0].device)
            found.append(_Selection(number, sequence, selector, places, slots, *held))
    return found


def _moved(layer: Any, entries: int, capacity: int) -> torch.Tensor:
    """Storage `[2, H, B, C, W]` of a layer's keys and values, of which these become views."""
    rows = isinstance(layer, KVLayer)
    batch, heads = layer.keys.shape[0], layer.keys.shape[2 if rows else 1]
    # Zeros: a masked entry has the weight 0, but 0 times what memory happens to hold may be NaN.
    storage: torch.Tensor = layer.keys.new_zeros(2, heads, batch, capacity, layer.keys.shape[3])
    if rows:
        layer.move_to(storage)
    else:
        for part, stored in zip(storage.unbind(0), (layer.keys, layer.values), strict=True):
            part[:, :, :entries] = stored.transpose(0, 1)
        _set_length(layer, storage, entries)
    return storage


def _set_length(layer: Any, storage: torch.Tensor, entries: int) -> None:
    """Let a layer of a cache have so many of the entries in its storage."""
    if isinstance(layer, KVLayer):
        layer.entries = entries
    else:
        layer.keys, layer.values = storage[:, :, :, :entries].transpose(1, 2).unbind(0)


def _project(linear: nn.Linear, x: torch.Tensor, output: torch.Tensor) -> None:
    """Put a linear layer's output into `[B, M]`."""
    if linear.bias is None:
        torch.mm(x, linear.weight.t(), out=output)
    else:
        torch.addmm(linear.bias, x, linear.weight.t(), out=output)


def _add_projected(linear: nn.Linear, x: torch.Tensor, hidden: torch.Tensor) -> None:
    """Add a linear layer's output to hidden states `[B, D]`."""
    hidden.addmm_(x, linear.weight.t())
    if linear.bias is not None:
        hidden.add_(linear.bias)


def _logits(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Their products `[N, G, C]`, not rounded to the 8 or 11 bits of two bytes."""
    if queries.dtype.itemsize == 2:
        return torch.bmm(queries, keys, out_dtype=torch.float32)
    return torch.bmm(queries, keys)
