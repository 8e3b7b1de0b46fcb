"""The KV cache of one `generate()` call: which entries are evicted and which active, in each layer.

`KVLayer` holds every token of the prompt. From the prune layer on a `PrunedLayer` has the evicted
ones (the DP cache of DyCoke) in front of the active ones, so that attention reads those as a view;
`Slots` plans what a new selection swaps. Nothing is kept on the model or in a global: two calls
never mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from dycoke_cli.errors import UsageError


@dataclass(frozen=True)
class Swaps:
    """What a new selection changes: the entries in `source[i]` and in `target[i]` swap slots."""

    source: torch.Tensor  # `[n, 2]`, int64: (sequence, slot) where each was while it was evicted
    # `[n, 2]`, int64: (sequence, slot) that it gets, from a token that is evicted
    target: torch.Tensor

    @classmethod
    def together(cls, swaps: Sequence[Swaps]) -> Swaps:
        """Those of several sequences as one."""
        return cls(torch.cat([s.source for s in swaps]), torch.cat([s.target for s in swaps]))


class Slots:
    """Slots `[padding | evicted | active | text and generated]`, of which a step reads the end.

    Attributes:
        first: the first slot that a step attends to.
        slot_of: `[V]`, int64: the slot of each visual token.
    """

    def __init__(self, sequence: int, padding: int, tokens: int) -> None:
        self.first = padding
        self._sequence, self._padding = sequence, padding
        self.slot_of = torch.arange(padding, padding + tokens)

    def arrange(self, active: torch.Tensor) -> Swaps:
        """Plan the swaps that bring the active tokens into the slots before the text.

        Args:
            active: `[A]`, int64, ascending.
        """
        slot_of = self.slot_of = self.slot_of.to(active.device)
        # The last A slots before the text are read. An active token in front of them swaps with an
        # inactive one among them; there are equally many of both, for A slots are to hold A tokens.
        # Example: V = 5, and slots 0 … 4 hold tokens 0 … 4. Active [0, 3] reads slots 3 and 4, so
        # tokens 0 and 4 swap.
        self.first = self._padding + len(slot_of) - len(active)
        is_active = torch.zeros_like(slot_of, dtype=torch.bool)
        is_active[active] = True
        was_evicted = slot_of < self.first
        entering = (is_active & was_evicted).nonzero().flatten()
        leaving = (~is_active & ~was_evicted).nonzero().flatten()
        source, target = slot_of[entering], slot_of[leaving]
        slot_of[entering], slot_of[leaving] = target, source
        return Swaps(self._located(source), self._located(target))

    def _located(self, slots: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full_like(slots, self._sequence), slots], dim=1)


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

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Refuse: each beam would need a selection of its own."""
        raise UsageError("beam search isn't supported with a compression method attached")

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: a selection once made can't be taken back."""
        raise UsageError(
            "assisted generation and prompt lookup aren't supported with a compression method "
            "attached"
        )


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


LAYERS_IN_A_LOOP = (
    "the language model runs its layers in a loop, which methods don't support; --method none works"
)
CLOSED = (
    "this cache is of a prompt that a method shortened, and the method isn't attached any more; "
    "give the whole conversation as one prompt"
)


class KVStore(Cache):
    """A cache whose layers from the prune layer on return active visual tokens only.

    The sequences of a batch end at the same slot. Where they begin at different ones, for they
    have padding in front or different numbers of active tokens, `mask` says which attends to what.

    Attributes:
        paddings: how many tokens of padding each sequence has in front.
        slots: of the visual tokens of each sequence, in pruned layers.

    Args:
        visual: for each sequence `[V]`, int64: where its visual tokens are, padding counted.
        first_pruned: the first layer that hands out active tokens only; None where none does.
        bias: `[B, R]`, float: added to the attention logits of each token; None for nothing. Not
            for layers that hand out active tokens by the selection of another one.
    """

    # of the language model
    layers: list[KVLayer]  # narrower than the base

    def __init__(
        self,
        *,
        layers: int,
        paddings: Sequence[int],
        visual: Sequence[torch.Tensor],
        length: int,
        uncompressed_length: int,
        first_pruned: int | None = None,
        bias: torch.Tensor | None = None,
    ) -> None:
        self.first_pruned = layers if first_pruned is None else first_pruned
        self._length, self._uncompressed_length = length, uncompressed_length
        self.paddings = list(paddings)
        pairs = [*zip(paddings, visual, strict=True)]
        self.slots = [Slots(n, padding, len(places)) for n, (padding, places) in enumerate(pairs)]
        self._active: list[torch.Tensor | None] = [None] * len(self.paddings)
        self._swaps: Swaps | None = None
        self._bias = bias
        # Layers can't tell a prompt's last chunk from a step of one token, so `begin_step` says it.
        self._in_prefill = True
        self._is_closed = False
        order = torch.stack([visual_first(padding, places, length) for padding, places in pairs])
        super().__init__(
            layers=[
                *(KVLayer() for _ in range(self.first_pruned)),
                *(PrunedLayer(order) for _ in range(self.first_pruned, layers)),
            ]
        )

    def expect_chunks(self) -> None:
        """The prompt will come in chunks."""
        for layer in self.layers:
            layer.expected = self._length

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append entries `[B, H, S, D]` to a layer; return what they attend to there."""
        if self._is_closed:
            raise UsageError(CLOSED)
        layer = self.layers[layer_idx]
        # Here, since a layer's update is the only call that stock code makes for each layer.
        if isinstance(layer, PrunedLayer) and not self._in_prefill:
            layer.begin_step(self._swaps, self._start)
        return layer.update(key_states, value_states)

    def close(self) -> None:
        """Take no more: stock code would count positions on from the uncompressed prompt."""
        self._is_closed = True

    def begin_step(self) -> None:
        """Begin a decoding step.

        Layers behind the scoring layer make a selection's swaps in the step in which it is made,
        and all of them are behind it. So none is left from the step before.
        """
        if self._in_prefill and self.layers[0].get_seq_length() != self._length:
            raise UsageError(LAYERS_IN_A_LOOP)
        self._in_prefill = False
        self._swaps = None

    def arrange(self, active: list[torch.Tensor | None]) -> None:
        """Plan the swaps of a step; the layers make them as they are updated.

        Args:
            active: for each sequence the visual tokens `[A]`, int64, that it attends to, the same
                object as at the step before where they are the same; None for a sequence that
                attends to all.
        """
        swaps = [
            slots.arrange(chosen)
            for slots, chosen, before in zip(self.slots, active, self._active, strict=True)
            # By identity: comparing values would wait for the device at every step.
            if chosen is not None and chosen is not before
        ]
        if swaps:
            self._swaps = Swaps.together(swaps)
        self._active = active

    def bias(self, keys: int) -> torch.Tensor | None:
        """What is added to the attention logits of so many keys: `[B, 1, 1, K]`, float, or None."""
        if self._bias is None:
            return None
        # The bias is of R prompt tokens. A chunk has fewer keys, for which `pad` cuts (a negative
        # length); a step has more, and nothing is added to generated tokens.
        return torch.nn.functional.pad(self._bias, (0, keys - self._length))[:, None, None]

    def mask(self, layer_idx: int, key: torch.Tensor) -> torch.Tensor | None:
        """Which of the keys that `update` handed out each sequence attends to in a decoding step.

        Args:
            layer_idx: the layer.
            key: `[B, H, K, D]`.

        Returns:
            `[B, K]`, bool, or None where all sequences attend to all keys.
        """
        pruned = layer_idx >= self.first_pruned
        firsts = [slots.first for slots in self.slots] if pruned else self.paddings
        start = self._start if pruned else 0
        if all(first == start for first in firsts):
            return None
        # Example: two sequences read slots 4 … 9 and 6 … 9. The keys are those of slots 4 … 9, of
        # which the second sequence masks the first two.
        slots = torch.arange(start, start + key.shape[2], device=key.device)
        return slots >= torch.tensor(firsts, device=key.device)[:, None]

    @property
    def _start(self) -> int:
        """The first slot that any sequence reads in a pruned layer."""
        return min(slots.first for slots in self.slots)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen, behind the prompt with the dropped ones: what `generate()` counts by."""
        entries = self.layers[0].get_seq_length()
        # Between the chunks of a prompt stock code makes masks by this number: here that of tokens
        # in the cache.
        if entries < self._length:
            return entries
        # generate() cuts its inputs by this number, and has the uncompressed prompt in them.
        return self._uncompressed_length + entries - self._length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No maximum."""
        return -1

    @property
    def nbytes(self) -> int:
        """Bytes of all layers, spare entries included."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def active_nbytes(self) -> int:
        """Bytes of the entries that the last step attended to."""
        return sum(layer.active_nbytes for layer in self.layers)


def visual_first(padding: int, visual: torch.Tensor, length: int) -> torch.Tensor:
    """The order in which a pruned layer stores a sequence: padding, visual tokens, text."""
    is_text = torch.ones(length, dtype=torch.bool)
    is_text[:padding] = False
    is_text[visual] = False
    return torch.cat([torch.arange(padding), visual, is_text.nonzero().flatten()])
