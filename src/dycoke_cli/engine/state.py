"""A `generate()` call under a method: the stages that it passes, and the state that they share.

There are three points. Before the prefill stages may change the arguments of the text decoder, and
the videos' own says where the visual tokens are. After the selection the arguments are those of
shortened prompts, and a `GenerationState` has the sequences, their selections and counts, which
layers and steps share. Each step reads more tokens behind the prompts.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.method import Method, Pruning, Selection
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.model_inputs import EmbeddedPrompts, ModelInputs
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout
from dycoke_cli.stock.forward import Arguments


@dataclass
class DecodeStats:
    """Counts over the decoding steps of one sequence, step by step."""

    visual: int = 0  # visual tokens before the method's selection
    visual_kept: int = 0  # visual tokens that the language model read
    kept_by_video: tuple[int, ...] = ()  # the same of each video of the prompt
    # visual tokens that were left before each layer where in-LLM token pruning dropped some
    left: dict[int, int] = field(default_factory=dict)
    # of the first generated token behind the prompt; the largest, where it has several
    next_position: int = 0
    # visual tokens that each step attended to from the prune layer on
    active: list[int] = field(default_factory=list)
    evicted: list[int] = field(default_factory=list)  # tokens that left the active set at each step
    recalled: list[int] = field(default_factory=list)  # tokens that came back into it at each step
    # reselections by then (the first selection isn't counted)
    reselections: list[int] = field(default_factory=list)
    _before: torch.Tensor | None = field(default=None, repr=False, compare=False)

    def read_by_layer(self, layers: int) -> list[int]:
        """Visual tokens that each layer read of the prompt."""
        counts, read = [], self.visual_kept
        for layer in range(layers):
            read = self.left.get(layer, read)
            counts.append(read)
        return counts

    def attended_by_layer(self, pruning: Pruning | None, layers: int) -> list[float]:
        """Visual tokens that each layer attended to, on average over steps."""
        if pruning is None:
            return [*self.read_by_layer(layers)]
        whole, active = float(self.visual_kept), self.mean_active
        return [whole if layer < pruning.layer else active for layer in range(layers)]

    @property
    def mean_active(self) -> float:
        """Visual tokens that the last layer attended to, on average over steps."""
        if self.active:
            return sum(self.active) / len(self.active)
        return [self.visual_kept, *self.left.values()][-1]  # that it read of the prompt

    @property
    def choices_renewed(self) -> int:
        """Reselections: selections after the first."""
        return self.reselections[-1] if self.reselections else 0

    @property
    def tokens_evicted(self) -> int:
        """Tokens that left the active set, summed over steps."""
        return sum(self.evicted)

    @property
    def tokens_recalled(self) -> int:
        """Tokens recalled into it, summed over steps."""
        return sum(self.recalled)

    def step(self, active: torch.Tensor, reselections: int) -> None:
        """Count one step.

        Args:
            active: `[A]`, int64, ascending: the tokens that the step attends to; the same object
                as at the step before where the selection stayed.
            reselections: reselections so far, the first selection not counted.
        """
        left, back = 0, 0
        # By identity: comparing values would wait for the device at every step.
        if active is not self._before:
            everything = torch.arange(self.visual_kept, device=active.device)
            before = everything if self._before is None else self._before
            stayed = int(torch.isin(active, before).sum())
            left, back = len(before) - stayed, len(active) - stayed
        self._before = active
        self.active.append(len(active))
        self.evicted.append(left)
        self.recalled.append(back)
        self.reselections.append(reselections)

    def until(self, steps: int) -> DecodeStats:
        """The counts of the first steps alone: a batch goes on until its longest answer ends."""
        return replace(
            self,
            active=self.active[:steps],
            evicted=self.evicted[:steps],
            recalled=self.recalled[:steps],
            reselections=self.reselections[:steps],
        )


# The keyword argument of the text decoder that carries a `GenerationState`. Stock layers hand on
# arguments that they don't know, so it reaches every layer and its attention function, in any
# thread.
STATE_ARGUMENT = "dycoke_state"


@dataclass
class ShortenedSequence:
    """A sequence of the batch: where its visual tokens are, and the selections among them."""

    padding: int  # how many tokens of padding are in front, for all sequences are equally long
    # `[V]`, int64: where the visual tokens that the language model reads are, padding counted;
    # empty in a sequence without a video
    visual: torch.Tensor
    stats: DecodeStats  # counts the selections
    selector: VisualSelector | None = None  # the selection of each decoding step, or None

    def to_visual(self, attention: torch.Tensor) -> torch.Tensor:
        """Of attention `[R - padding]` to all tokens that to the visual ones, `[V]`."""
        return attention[self.visual.to(attention.device) - self.padding]

    def select(self, attention: torch.Tensor) -> torch.Tensor:
        """The visual tokens `[A]`, int64, that this decoding step attends to.

        Args:
            attention: `[V]`, float32: of the step's query to each visual token.
        """
        assert self.selector is not None
        active = self.selector.step(attention)
        self.stats.step(active, self.selector.reselections)
        return active


class DecodeStep:
    """What a forward behind the prompts reads: one token of each sequence."""

    @property
    def count(self) -> int:
        """T, how many tokens it reads of each."""
        return 1

    def positions(self, upcoming: torch.Tensor) -> torch.Tensor:
        """Positions `[..., B, T]`, from those of the tokens to come, `[..., B, 1]`."""
        return upcoming

    def behind(self, upcoming: torch.Tensor) -> torch.Tensor:
        """Positions `[..., B, 1]` of the tokens to come behind the forward."""
        return upcoming + 1

    def mask(self, keep: torch.Tensor | None, key: torch.Tensor) -> torch.Tensor | None:
        """Which keys each of the T tokens attends to, `[B or 1, 1, T, K]`, bool; None for all.

        Args:
            keep: `[B, K]`, bool: false in the padding; None without padding.
            key: `[B, H, K, D]`: of the prompt, and of what was read behind it.
        """
        return None


class Records:
    """Records what the first sequence of a call attends to; this one records nothing."""

    def begin_step(self) -> None:
        """A decoding step begins."""

    def attend(
        self,
        state: GenerationState,
        layer_idx: int,
        attention: Callable[[], torch.Tensor],
    ) -> None:
        """Record what the last query attends to in a layer, where that is wanted.

        Args:
            layer_idx: the layer.
            attention: computes `[K]`, float32: to all keys that its cache handed out.
        """

    def select(self, active: torch.Tensor, reselections: int = 0) -> None:
        """Record a selection.

        Args:
            active: `[A]`, int64, ascending: those of the tokens that were read that are active.
            reselections: reselections so far, the first selection not counted.
        """


class LayerInputs(Protocol):
    """Changes what decoder layers get during the prefill of a call."""

    def before_layer(self, state: GenerationState, number: int, arguments: Arguments) -> Arguments:
        """The arguments of a decoder layer."""

    def of_chunk(self, start: int, stop: int) -> LayerInputs:
        """The same while the tokens `start` … `stop` - 1 are prefilled alone."""


class LayerSelection(ABC):
    """Selections that layers get of the attention of others."""

    @abstractmethod
    def scores_at(self, layer: int) -> bool:
        """Whether one is made from the attention of this layer."""

    def queries(self, layer: int) -> torch.Tensor | None:
        """Which tokens of the forward attend there for it, `[Q]`, int64; None for the last one."""
        return None

    def keys(self, layer: int) -> torch.Tensor | None:
        """Among which tokens attention adds up to 1, `[K]`, int64; None for all."""
        return None

    @abstractmethod
    def select(self, state: GenerationState, layer: int, attention: list[torch.Tensor]) -> None:
        """Make it; the layers behind follow.

        Args:
            attention: for each sequence `[V]`, float32: of its last query to its visual tokens.
        """


@dataclass
class GenerationState:
    """State of one `generate()` call on shortened prompts."""

    sequences: list[ShortenedSequence]  # of the batch
    next_positions: torch.Tensor  # `[..., B, 1]`, int64: of the tokens to come
    # `[B, R]`, bool: false in the padding of the shortened prompts; None without padding
    keep: torch.Tensor | None
    # the KV cache; None where the stock cache is used. It isn't kept alive: when the call is over,
    # its memory is free at once.
    cache: weakref.ref[KVStore] | None = None
    layer_inputs: list[LayerInputs] = field(default_factory=list)  # during prefill, in this order
    selection: LayerSelection | None = None  # of this forward, or None
    step_selection: LayerSelection | None = None  # of each decoding step, or None
    in_prefill: bool = True  # whether no decoding step was made yet
    flat: bool = False  # whether decoding steps may be made by `flat_decode`
    step: DecodeStep = field(default_factory=DecodeStep)  # what the next forward reads
    records: Records = field(default_factory=Records)
    # `[R']`, int64: the tokens that layers behind an in-LLM selection read; None before one
    left: torch.Tensor | None = None
    _selected: set[int] = field(default_factory=set, init=False)  # by the attention of what layers

    @property
    def store(self) -> KVStore | None:
        """The KV cache, as long as the call runs."""
        return None if self.cache is None else self.cache()

    def begin_step(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the text decoder for a forward behind the shortened sequences."""
        self.in_prefill = False
        self._selected.clear()
        self.selection = self.step_selection
        # generate() counts on from the uncompressed prompt. Here a step has the position behind the
        # last one that was read.
        positions = self.step.positions(self.next_positions)
        self.next_positions = self.step.behind(self.next_positions)
        return kwargs | {"position_ids": positions}

    def repeated(self, times: int) -> GenerationState:
        """The state of steps on a stock cache whose only sequence was repeated."""
        shape = self.next_positions.shape
        positions = self.next_positions.expand(*shape[:-2], times, 1)
        return replace(self, sequences=self.sequences * times, next_positions=positions)

    def of_chunk(self, start: int, stop: int) -> GenerationState:
        """The state of layers while the tokens `start` … `stop` - 1 are prefilled alone."""
        # Shallow: sequences, statistics and records stay the same objects, for all chunks.
        layer_inputs = [one.of_chunk(start, stop) for one in self.layer_inputs]
        return replace(self, layer_inputs=layer_inputs)

    def bias(self, keys: int) -> torch.Tensor | None:
        """What is added to the attention logits of so many keys: see `KVStore.bias`."""
        return None if self.store is None else self.store.bias(keys)

    def select(self, layer_idx: int, attention: list[torch.Tensor]) -> None:
        """Make a selection of this forward.

        Args:
            layer_idx: the layer whose attention it is.
            attention: for each sequence `[R - padding]`, float32: of `queries` to all its keys.

        Raises:
            UsageError: a layer attends more than once, so what its attention is isn't known.
        """
        if layer_idx in self._selected:
            raise UsageError(
                "each layer of the language model attends more than once, so its attention selects "
                "no tokens; use a method without such a selection, such as --method evs"
            )
        self._selected.add(layer_idx)
        assert self.selection is not None
        self.selection.select(self, layer_idx, attention)

    def forget_selection(self, layer_idx: int) -> None:
        """Let a layer's attention be computed once more, as if for the first time."""
        self._selected.discard(layer_idx)


@dataclass
class Prefill:
    """Prompts on their way into the text decoder, and what the stages make of them."""

    decoder: Any
    method: Method
    # decode pruning as each sequence gets it, with a selector of its own; None where every step
    # attends to all tokens
    pruning: Pruning | None
    inputs: ModelInputs  # with which the model was called
    given: dict[str, Any]  # keyword arguments of the decoder, for uncompressed prompts
    is_positional: bool  # whether it has other arguments as well
    prompts: EmbeddedPrompts
    kwargs: dict[str, Any]  # keyword arguments, as they were changed so far
    # after the selection
    selections: list[Selection] = field(default_factory=list)  # for each sequence
    # of each, `[M]`, int64, on the CPU: the tokens of its videos that are kept
    kept: list[torch.Tensor] = field(default_factory=list)
    at: torch.Tensor = field(init=False)  # `[B, R]`, int64: the tokens of the prompts that are read
    state: GenerationState = field(init=False)


class Stage:
    """A part of an attachment; each does nothing at a point that doesn't concern it.

    An attachment calls its stages one after the other, in the order of `attach`.
    """

    def attached(self) -> AbstractContextManager[Any]:
        """A block as long as the method is attached, for hooks of its own."""
        return nullcontext()

    def layers(self) -> Iterable[int]:
        """Numbers of the decoder layers whose inputs it changes (`LayerInputs`)."""
        return ()

    def before_prefill(self, prefill: Prefill) -> None:
        """Check or change the prompts before the method selects from them."""

    def after_selection(self, prefill: Prefill) -> None:
        """Change the shortened prompts, or the call, before the text decoder reads them."""

    def before_step(self, state: GenerationState, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the text decoder for a forward behind the prompts.

        Args:
            kwargs: which the stages before this one have made.
        """
        return kwargs


class Videos(Stage, ABC):
    """The stage that knows the videos of the prompts, and has the method select from them."""

    @abstractmethod
    def find(self, inputs: ModelInputs | None, kwargs: dict[str, Any]) -> list[list[Layout]]:
        """Where the visual tokens of each video are, in each sequence.

        Args:
            inputs: of the model; None where the text decoder is called without it.
            kwargs: of the text decoder.
        """

    @abstractmethod
    def select(self, method: Method, prompts: EmbeddedPrompts) -> list[Selection]:
        """The method's selection for each sequence."""
