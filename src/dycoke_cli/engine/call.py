"""One `generate()` call on shortened prompts: the state its layers and steps share."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dycoke_cli.compression.base import Selector
from dycoke_cli.engine.deepstack import DeepStack
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.token_pruning import TokenPruning
from dycoke_cli.engine.token_tree import TokenTree
from dycoke_cli.engine.trace import DecodeStats, Recorder
from dycoke_cli.errors import UsageError

# The keyword argument of the text decoder that carries a `Call`. Stock layers hand on arguments
# that they don't know, so it reaches every layer and its attention function, in any thread.
CALL_ARGUMENT = "dycoke_call"


@dataclass
class ShortenedSequence:
    """A sequence of the batch: where its visual tokens are, and the selections among them."""

    padding: int  # how many tokens of padding are in front, for all sequences are equally long
    # `[V]`, int64: where the visual tokens that the language model reads are, padding counted;
    # empty in a sequence without a video
    visual: torch.Tensor
    stats: DecodeStats  # counts the selections
    selector: Selector | None = None  # the selection of each decoding step, or None
    # visual tokens that each pruned layer selects for itself at each step, or None
    selected: int | None = None
    # `[V]`, float: added to the attention logits of the visual tokens; None for nothing
    bias: torch.Tensor | None = None

    @property
    def is_pruned(self) -> bool:
        """Whether its decoding steps attend to a selection."""
        return self.selector is not None or self.selected is not None

    def bias_at(self, places: torch.Tensor, keys: int) -> torch.Tensor | None:
        """`bias` where the visual tokens are among keys: `[K]`, zero elsewhere; or None.

        Args:
            places: `[V]`, int64: where they are; of a chunk of the prompt some behind its keys.
            keys: K.
        """
        if self.bias is None:
            return None
        places = places.to(self.bias.device)
        # A chunk has the keys up to itself. Visual tokens of later chunks are written behind them,
        # and cut off.
        everywhere = self.bias.new_zeros(max(keys, int(places.max()) + 1))
        return everywhere.index_copy(0, places, self.bias)[:keys]

    def select(self, attention: torch.Tensor) -> torch.Tensor:
        """The visual tokens `[A]`, int64, that this decoding step attends to.

        Args:
            attention: `[V]`, float32: of the step's query to each visual token.
        """
        assert self.selector is not None
        active = self.selector.step(attention)
        self.stats.step(active, self.selector.reselections)
        return active


@dataclass
class Call:
    """The state of a call."""

    sequences: list[ShortenedSequence]  # of the batch
    next_positions: torch.Tensor  # `[..., B, 1]`, int64: of the tokens to come
    # `[B, R]`, bool: false in the padding of the shortened prompts; None without padding
    keep: torch.Tensor | None
    # the KV cache; None where the stock cache is used. It isn't kept alive: when the call is over,
    # its memory is free at once.
    cache: weakref.ref[KVStore] | None
    # whose attention the selection of a decoding step is made from, or None
    layer: int | None = None
    token_pruning: TokenPruning | None = None  # the selection during prefill, or None
    # what is added behind the first layers during prefill, or None
    deepstack: DeepStack | None = None
    in_prefill: bool = True  # whether no decoding step was made yet
    flat: bool = True  # whether decoding steps may be made by `flat_decode`
    # what is read behind the prompt in one forward, in place of a token per step; or None
    tree: TokenTree | None = None
    recorder: Recorder | None = None  # records what the first sequence attends to, or None
    _selected: bool = field(default=False, init=False)

    @property
    def store(self) -> KVStore | None:
        """The KV cache, as long as the call runs."""
        return None if self.cache is None else self.cache()

    def begin_step(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the text decoder for one decoding step on the shortened sequences."""
        self.in_prefill = self._selected = False
        # generate() counts on from the uncompressed prompt. Here a step has the position behind the
        # last one that was read, and no mask: `KVStore` makes one for each layer, where any is
        # needed, for layers before and behind the prune layer hold different numbers of keys.
        positions = self.next_positions
        if self.tree is not None:
            positions = positions + self.tree.depths.to(positions.device)
        else:  # all of a tree is behind the same token
            self.next_positions = self.next_positions + 1
        step = kwargs | {"attention_mask": None, "position_ids": positions}
        for sequence in self.sequences:
            # Counted here, not by layer: every layer selects as many.
            if sequence.selected is not None:
                sequence.stats.step_by_layer(sequence.selected)
        if self.recorder is not None:
            self.recorder.begin_step()
        if self.store is not None:
            self.store.begin_step()
            return step | {CALL_ARGUMENT: self}
        if self.keep is not None:  # the new token is no padding
            self.keep = torch.nn.functional.pad(self.keep, (0, 1), value=True)
        return step | {"attention_mask": self.keep}

    def repeated(self, times: int) -> Call:
        """The state of steps on a stock cache whose only sequence was repeated."""
        shape = self.next_positions.shape
        positions = self.next_positions.expand(*shape[:-2], times, 1)
        return replace(self, sequences=self.sequences * times, next_positions=positions)

    def of_chunk(self, start: int, stop: int) -> Call:
        """The state of layers while the tokens `start` … `stop` - 1 are prefilled alone."""
        # Shallow: sequences, statistics and the recorder stay the same objects, for all chunks.
        deepstack = self.deepstack and self.deepstack.of_chunk(start, stop)
        return replace(self, deepstack=deepstack)

    def before_layer(
        self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a decoder layer during prefill."""
        pruning = self.token_pruning
        if self.deepstack is not None:
            # The prune layer itself still gets all tokens, and drops them on its way in; from the
            # next one on hidden states are shorter than what DeepStack adds.
            behind = pruning is not None and number > pruning.layer
            tokens = pruning.tokens if pruning is not None and behind else None
            args = (self.deepstack.add(args[0], number, tokens), *args[1:])
        if pruning is not None and number >= pruning.layer:
            return pruning.pruned(args, kwargs, number)
        return args, kwargs

    def bias_of(self, layer_idx: int, keys: int) -> torch.Tensor | None:
        """What is added to the attention logits of the keys that a layer attends to.

        Args, and what it returns: as of `KVStore.bias`.
        """
        return None if self.store is None else self.store.bias(layer_idx, keys)

    def record(
        self,
        layer_idx: int,
        keys: int,
        attention: Callable[[torch.Tensor | None], torch.Tensor],
    ) -> None:
        """Record what the first sequence's last query attends to in a layer, where that is wanted.

        Args:
            layer_idx: the layer.
            keys: K, how many its cache handed out.
            attention: computes `[K]`, float32: to all of them, from what is added to their logits,
                `[K]` or None.
        """
        if self.recorder is not None and layer_idx == self.recorder.layer:
            sequence = self.sequences[0]
            places = sequence.visual
            # Before the first step every layer has its entries in reading order.
            if self.store is not None and not self.in_prefill:
                places = self.store.visual_places(layer_idx, places)
            self.recorder.attend(attention(sequence.bias_at(places, keys)), places)

    def record_selected(self, layer_idx: int) -> None:
        """Record what a layer selected for itself in this step, where that is wanted."""
        if self.recorder is not None and self.store is not None:
            selected = self.store.selected(layer_idx)
            if selected is not None:
                self.recorder.select_in_layer(selected)

    def scores_at(self, layer_idx: int) -> bool:
        """Whether this forward's selection is made from the attention of this layer."""
        # The layer before the first pruned one: the last that attends to every token.
        if self.in_prefill:
            return self.token_pruning is not None and layer_idx == self.token_pruning.layer - 1
        return layer_idx == self.layer

    def select(self, attention: list[torch.Tensor]) -> None:
        """Make the selection of this forward; the layers behind follow it.

        Args:
            attention: for each sequence `[R - padding]`, float32: of its last query to all its
                keys.

        Raises:
            UsageError: a layer attends more than once, so what its attention is isn't known.
        """
        if self._selected:
            raise UsageError(
                "each layer of the language model attends more than once, so its attention selects "
                "no tokens; use a method without such a selection, such as --method evs"
            )
        self._selected = True
        # Attention has no padding, `visual` counts it.
        to_visual = [
            weights[sequence.visual.to(weights.device) - sequence.padding]
            for sequence, weights in zip(self.sequences, attention, strict=True)
        ]
        if self.in_prefill:
            assert self.token_pruning is not None
            # Of one sequence alone: `check_prefill` refuses a batch.
            kept = self.token_pruning.select(to_visual[0])
            self.sequences[0].stats.visual_after_pruning = len(kept)
            if self.recorder is not None:
                self.recorder.select(kept)
            return
        assert self.store is not None
        active = [
            None if sequence.selector is None else sequence.select(weights)
            for sequence, weights in zip(self.sequences, to_visual, strict=True)
        ]
        if self.recorder is not None and active[0] is not None:
            self.recorder.select(active[0], self.sequences[0].stats.choices_renewed)
        # The layers make the swaps as they run: those behind this one, in this very step.
        self.store.arrange(active)
