"""Layers of which each selects, at each step, the visual tokens that its own query attends to.

All entries stay where they are. A step reads the index of a layer's visual keys, copies the entries
that it selects, and those of text, into a buffer that all layers share, and attends to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from typing_extensions import override

from dycoke_cli.engine.kv_cache import KVStore, with_sequence
from dycoke_cli.engine.kv_cache.batch_layout import BatchLayout
from dycoke_cli.engine.kv_cache.layer import SPARE_ENTRIES, KVLayer
from dycoke_cli.engine.kv_cache.offloaded import PinnedHostBuffer
from dycoke_cli.engine.kv_cache.pruned import in_order
from dycoke_cli.errors import UsageError


class Index(Protocol):
    """The index of a layer's visual keys."""

    @property
    def nbytes(self) -> int:
        """Bytes of the index, all of which a step reads."""


class KeySelection(Protocol):
    """Selects the visual tokens that a step of a layer attends to."""

    @property
    def per_head(self) -> bool:
        """Whether each KV head has a selection of its own."""

    def index(self, keys: Sequence[torch.Tensor]) -> Index:
        """Index the visual keys of each sequence, `[H, V, D]`."""

    def select(
        self,
        index: Any,
        query: torch.Tensor,
        text: torch.Tensor,
        scaling: float,
        most: int,
        is_visual: torch.Tensor | None,
        is_text: torch.Tensor | None,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """Visual tokens `[B, H or 1, most]`, int64; of a shorter sequence the first ones count.

        Args:
            index: of the visual keys.
            query: `[B, Hq, 1, D]`.
            text: `[B, H, T, D]`: the other keys.
            scaling: of the scores.
            most: how many.
            is_visual: `[B, V]`, bool: false behind the tokens of a shorter sequence; or None.
            is_text: `[B, T]`, bool: false in front of the tokens of a shorter sequence; or None.
            bias: `[B, V]`, float: added to the scores of visual tokens; or None.
        """


class IndexedStore(KVStore):
    """A cache whose layers from the prune layer on select for themselves what a step attends to."""

    def __init__(self, *, selector: KeySelection, counts: Sequence[int], **sizes: Any) -> None:
        self._selector, self._counts = selector, list(counts)
        super().__init__(**sizes)

    def _pruned_layers(
        self, visual: Sequence[torch.Tensor], dp_cache: str, layers: int
    ) -> list[KVLayer]:
        batch = BatchLayout.of(self.paddings, visual, self._counts, self._length, self._bias)
        shared, offloaded = SharedBuffers(), dp_cache == "host"
        self._shared = shared
        return [IndexedLayer(batch, self._selector, shared, offloaded) for _ in range(layers)]

    @override
    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._returned = super().update(key_states, value_states, layer_idx)
        return self._returned

    def attended(
        self,
        layer_idx: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """What a layer attends to: see `KVStore.attended`; here it depends on the query.

        Raises:
            UsageError: the layer doesn't attend to the keys and values as they are cached.
        """
        layer = self.layers[layer_idx]
        if isinstance(layer, IndexedLayer):
            if not all(map(_is_same, (key, value), self._returned)):
                raise UsageError(
                    "the language model changes keys or values behind its cache, so its layers "
                    "can't select for themselves; --no-kv-prune works"
                )
            return layer.read(query, scaling)
        return super().attended(layer_idx, query, key, value, scaling)

    @override
    def bias(self, layer_idx: int, keys: int) -> torch.Tensor | None:
        layer = self.layers[layer_idx]
        if self._in_prefill or not isinstance(layer, IndexedLayer):
            return super().bias(layer_idx, keys)
        return layer.bias(keys)

    @override
    def visual_places(self, layer_idx: int, visual: torch.Tensor) -> torch.Tensor:
        layer = self.layers[layer_idx]
        if not isinstance(layer, IndexedLayer):
            return visual
        # Visual tokens stand behind the padding, and text behind them.
        return self.paddings[0] + torch.arange(len(visual), device=visual.device)

    @override
    def selected(self, layer_idx: int) -> torch.Tensor | None:
        layer = self.layers[layer_idx]
        if not isinstance(layer, IndexedLayer):
            return None
        return layer.selected[0].flatten()

    @property
    def nbytes(self) -> int:
        """Bytes on all devices and in main memory, indexes and the shared buffer included."""
        return super().nbytes + self._shared.nbytes


class IndexedLayer(KVLayer):
    """A layer with an index of its visual keys, made when the last token of the prompt is in.

    Until then entries are in reading order, which later chunks of a prompt attend to. Offloaded,
    visual tokens are in main memory, where each step fetches those that it selects; the index, and
    text, are on the device.

    Attributes:
        selected: of the newest step; see `KeySelection.select`.
    """

    def __init__(
        self, batch: BatchLayout, selector: KeySelection, shared: SharedBuffers, offloaded: bool
    ) -> None:
        super().__init__()
        self._batch, self._selector, self._shared = batch, selector, shared
        self._offloaded = offloaded
        self._index: Index | None = None
        self._host: tuple[PinnedHostBuffer, ...] = ()
        self._offloaded_slots = 0
        self._read_bytes = 0

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append entries `[B, H, S, D]`; return those that a prompt attends to.

        What a decoding step attends to is known when its query is: see `read`.
        """
        # A whole prompt at once, which attends to itself in reading order.
        if key_states.shape[2] == self._batch.length and not self.is_initialized:
            self._settle(key_states, value_states)
            self.is_initialized = True
            return key_states, value_states
        keys, values = super().update(key_states, value_states)
        # The last chunk. `keys` still is the tensor in reading order, which this chunk attends to.
        if self._index is None and self.entries == self._batch.length:
            self._settle(keys, values)
        return keys, values

    @torch.no_grad()
    def read(
        self, query: torch.Tensor, scaling: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Select the visual tokens of a decoding step, and copy what the step attends to.

        Args:
            query: `[B, Hq, 1, D]`.
            scaling: of the scores.

        Returns:
            Keys and values `[B, H, most + T, D]`, which the next layer overwrites, and which of
            them each sequence attends to: `[B, most + T]`, bool, or None for all.
        """
        assert self._index is not None, "a prompt was read before"
        batch = self._batch
        text = slice(batch.text - self._offloaded_slots, self.entries)
        generated = self.entries + self._offloaded_slots - batch.length
        selected = self._selector.select(
            self._index,
            query,
            self.keys[:, text].transpose(1, 2),
            scaling,
            batch.most,
            batch.is_visual,
            _with_generated(batch.is_text, generated),
            batch.bias,
        )
        self.selected = selected
        kept = self._fetched(selected, text) if self._host else self._gathered(selected, text)
        self._read_bytes = sum(part.nbytes for part in kept) + self._index.nbytes
        keys, values = (part.transpose(1, 2) for part in kept)
        return keys, values, _with_generated(batch.is_read, generated)

    def bias(self, keys: int) -> torch.Tensor | None:
        """What is added to the logits of the newest step's `[most + T]` keys: `KVStore.bias`."""
        if self._batch.bias is None:
            return None
        each = self._batch.bias[:, None].expand(-1, self.selected.shape[1], -1)
        of_selected = each.gather(2, self.selected)
        return torch.nn.functional.pad(of_selected, (0, keys - of_selected.shape[2]))[:, :, None]

    def _gathered(self, selected: torch.Tensor, text: slice) -> list[torch.Tensor]:
        """Keys and values `[B, most + T, H, D]` of what is selected, and of text."""
        batch, capacity = len(selected), self.keys.shape[1]
        # Numbers of visual tokens become slots. Those that fill up a shorter sequence's selection
        # may point behind it; they are masked, and have to be some slot.
        slots = (selected + self._batch.first_slot).clamp(max=self._batch.length - 1)
        others = torch.arange(text.start, text.stop, device=selected.device)
        slots = torch.cat([slots, others.expand(*slots.shape[:2], -1)], -1)
        if batch > 1:  # rows of `stored.flatten(0, 1)`, in which each sequence has `capacity`
            slots = slots + capacity * torch.arange(batch, device=slots.device)[:, None, None]
        rows, kept = self._rows(slots), []
        for part, stored in enumerate((self.keys, self.values)):
            room = self._shared.room(part, stored, slots.shape[2])
            # `out` writes into the buffer: a step allocates nothing, layer after layer.
            target = self._by_row(room.flatten(0, 1))
            torch.index_select(self._by_row(stored.flatten(0, 1)), 0, rows, out=target)
            kept.append(room)
        return kept

    def _fetched(self, selected: torch.Tensor, text: slice) -> list[torch.Tensor]:
        """The same where visual tokens are in main memory, which waits for the selection."""
        most, kept = selected.shape[2], []
        tokens = (selected + self._batch.first_token).clamp(max=self._batch.tokens - 1)
        rows = self._rows(tokens).cpu()
        for part, stored in enumerate((self.keys, self.values)):
            room = self._shared.room(part, stored, most + text.stop - text.start)
            room[:, :most] = self._host[part].fetch(rows).view(room[:, :most].shape)
            room[:, most:] = stored[:, text]
            kept.append(room)
        return kept

    def _by_row(self, entries: torch.Tensor) -> torch.Tensor:
        """Entries `[N, H, D]` by what a selection takes together: the heads of a token, or one."""
        return entries.flatten(0, 1) if self._selector.per_head else entries

    def _rows(self, entries: torch.Tensor) -> torch.Tensor:
        """Of the numbers of entries `[B, H or 1, n]`, those of rows of `_by_row`, in order.

        What stands behind the selection of a sequence with fewer tokens is masked, and may be any
        entry.
        """
        if not self._selector.per_head:
            return entries.flatten()
        # An entry is `heads` rows: head h of entry e is row e · heads + h. `mT` puts the entries of
        # all heads side by side, as they stand in the buffer: [n, H], and not [H, n].
        heads = entries.shape[1]
        return (entries.mT * heads + torch.arange(heads, device=entries.device)).flatten()

    @torch.no_grad()
    def _settle(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Index a whole prompt `[B, H, R, D]`, and put its entries into their slots."""
        batch = self._batch = self._batch.to(key_states.device)
        places = [tokens.to(key_states.device) for tokens in batch.visual]
        pairs = zip(key_states, places, strict=True)
        self._index = self._selector.index([keys[:, tokens] for keys, tokens in pairs])
        order = batch.order
        if self._offloaded:
            located = torch.cat([with_sequence(i, tokens) for i, tokens in enumerate(places)])
            sequence, token = located.unbind(1)
            self._host = tuple(
                PinnedHostBuffer(self._by_row(states[sequence, :, token]))
                for states in (key_states, value_states)
            )
            self._offloaded_slots = batch.text
            order = order[:, batch.text :]
        keys, values = in_order(key_states, order), in_order(value_states, order)
        self._allocate(key_states, value_states, order.shape[1])
        self.entries = 0
        self._append(keys, values)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(key length, offset) for the mask of a query of `query_length` tokens."""
        return self.get_seq_length() + int(query_length), 0

    def get_seq_length(self) -> int:
        """Entries on the device and in main memory."""
        return self.entries + self._offloaded_slots

    @property
    def nbytes(self) -> int:
        """Bytes on the device, spare entries and the index included."""
        return super().nbytes + (0 if self._index is None else self._index.nbytes)

    @property
    def host_nbytes(self) -> int:
        """Bytes in main memory."""
        return sum(buffer.nbytes for buffer in self._host)

    @property
    def active_nbytes(self) -> int:
        """Bytes of the entries that the last step attended to, and of the index."""
        return self._read_bytes or super().active_nbytes


class SharedBuffers:
    """Buffers for what a layer attends to, overwritten by the next layer.

    Layers run one after the other, so one buffer for keys and one for values do for all of them.
    """

    def __init__(self) -> None:
        self._buffers: dict[Any, torch.Tensor] = {}

    def room(self, part: int, like: torch.Tensor, length: int) -> torch.Tensor:
        """`[B, length, H, D]`, of what kind and on what device `like`, `[B, *, H, D]`, is.

        Args:
            part: keys and values have their own.
            like: entries of a layer.
            length: entries of each sequence.
        """
        batch, _, *row = like.shape
        key = (part, like.device, *row)
        buffer = self._buffers.get(key)
        # Some entries more, as in a layer: each step is one longer than the one before.
        if buffer is None or len(buffer) < batch * length:
            buffer = self._buffers[key] = like.new_empty(batch * (length + SPARE_ENTRIES), *row)
        return buffer[: batch * length].view(batch, length, *row)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self._buffers.values())


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same memory in the same order."""
    return one.data_ptr() == other.data_ptr() and (one.shape, one.stride()) == (
        other.shape,
        other.stride(),
    )


def _with_generated(mask: torch.Tensor | None, generated: int) -> torch.Tensor | None:
    """A mask of the prompt's tokens, with those generated behind them."""
    return None if mask is None else torch.nn.functional.pad(mask, (0, generated), value=True)
