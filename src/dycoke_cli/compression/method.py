"""The base class of compression methods: a dataclass of parameters with up to four selections.

A method never touches a model. Its author writes two functions and leaves the others alone:

- `select`, from the features of the visual tokens alone, or `choose`, from the vision encoder's
  attention or the question as well (named in `needs`), or where tokens are merged;
- `kept_tokens`, how many tokens that keeps.

The others are for methods that also work elsewhere, and each has a default that does nothing:

| function | for a method that |
|---|---|
| `inside`, `attended_tokens` | drops tokens between layers of the language model |
| `pruning`, `attended_tokens` | selects again at each decoding step |
| `merge_frames`, `before_vision` | merges frames, or drops tokens, inside the vision tower |
| `shrink` | scales frames down before the vision tower |
| `renumbers` | has a parameter for positions: `Budgeted` has it |
| `so_far` | compares each window of a long video with those before it |
| `weighs_merged` | gives merged tokens the attention of all that they stand for |
| `finish` | merges what `choose` has dropped |

A parameter that is None where its default is the model's has a value by the time that the engine
calls any of these: it settles a method first (`with_model_defaults`).
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, TypeVar

from dycoke_cli.errors import UsageError
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Options, check_all, parameters_of

Need = Literal["attention", "question", "frame_attention"]
"""Inputs that a method may request beside the features."""
_ARGS = "\n\nArgs:"


@dataclass(frozen=True)
class MergedFrames:
    """What merging inside the vision tower has left of the frames of a video."""

    # for each frame the one that it is part of now: itself where it is left, or the earlier one
    # that it was merged into
    into: tuple[int, ...]
    groups: tuple[int, ...]  # for each frame the number of the group that it is in


@dataclass(frozen=True)
class SelectionInputs:
    """The inputs of a selection: a video; what a method doesn't request (`Method.needs`) is None.

    Args:
        features: `[F, N, D]`, float: the tokens of F frames with N positions each, as the language
            model would get them.
        attention: `[F, N]`, float32: how much the vision encoder attends to each token: in the last
            layer whose output is used, the attention of the class token's query, or of all
            queries in the mean where there is no class token; in the mean over heads, and over
            the patches that a token is pooled from.
        keys: `[F, N, K]`, float32: the keys of that layer, in the mean over heads and patches.
        question: `[Q, D]`, float: the embeddings of the text behind the video.
        frame_attention: `[F]`, float32: how much the language model attends to each frame, if it
            reads all tokens: that of the prompt's last token, after softmax over the video's
            tokens, in the mean over heads, the tokens of a frame and the last third of the layers.
        encoded: `[E]`, int64, ascending: flat indices of the tokens that the vision encoder put
            out, where some were dropped inside it (`Method.before_vision`): each other one has the
            features of the token that it was merged into. None where there are none.
        merged: what the method's `merge_frames` has left of the frames; None where it merges none.
            The features of a frame that was merged into another one are those of that one.
        so_far: what the method knows of the video up to the end of these frames, where they are a
            window of it (`Method.so_far`); () where they are all.
    """

    features: torch.Tensor
    attention: torch.Tensor | None = None
    keys: torch.Tensor | None = None
    question: torch.Tensor | None = None
    frame_attention: torch.Tensor | None = None
    encoded: torch.Tensor | None = None
    merged: MergedFrames | None = None
    so_far: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The visual tokens that the language model reads.

    Args:
        kept: `[M]`, int64: flat indices `frame*N + position`, in the order in which the language
            model reads them.
        features: `[M, D]`, float: what it reads in their places, where others were merged into
            them; None where they stay what they are. What DeepStack adds behind the first layers
            isn't merged: kept tokens get their own, that of the others is dropped.
        into: `[F*N]`, int64: for each token the kept one that represents it: itself where it is
            kept, -1 where none does; of several that it is merged into, the one most like it. None
            of a method that merges nothing.
        counts: `[M]`, int64: how many tokens each kept one stands for, where it is known without
            `into`; else None.
    """

    kept: torch.Tensor
    features: torch.Tensor | None = None
    into: torch.Tensor | None = None
    counts: torch.Tensor | None = None

    @property
    def sizes(self) -> torch.Tensor | None:
        """How many tokens each kept one stands for: `[M]`, int64, on the CPU; or None.

        None where nothing is merged. What was merged into several counts for the one most like it.
        """
        if self.counts is not None:
            return self.counts
        if self.features is None or self.into is None:
            return None
        into = self.into.cpu()
        return into[into >= 0].bincount(minlength=len(into))[self.kept.cpu()]

    @classmethod
    def in_reading_order(
        cls, kept: torch.Tensor, features: torch.Tensor, into: torch.Tensor | None = None
    ) -> Selection:
        """That of tokens in any order."""
        order = kept.argsort()
        return cls(kept[order], features[order], into)


T = TypeVar("T")


@dataclass(frozen=True)
class Pruning:
    """The settings of decode pruning for one generated sequence."""

    # the first layer (0-based, 1 or more) that attends to active tokens only; the layer before it
    # gives the attention that the selector sees
    layer: int
    # selects at each step for all layers from there on, as `kv_pruning.VisualSelector` does
    selector: Any


@dataclass(frozen=True)
class LayerPruning:
    """In-LLM token pruning: a selection between two layers, made once, during prefill.

    V are the visual tokens that the layer before it reads.
    """

    # the first layer (0-based, 1 or more) that gets the kept tokens only
    layer: int
    # selects. From the attention `[V]`, float32, to each visual token it returns `[A]`, int64,
    # ascending: the tokens that are kept.
    keep: Callable[[torch.Tensor], torch.Tensor]
    # merges the others. From the hidden states `[V, D]`, float, that the visual tokens have before
    # that layer, their attention `[V]` and the tokens kept it returns the selection that the layer
    # gets, with features. None where kept tokens are unchanged, and the others dropped.
    merge: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Selection] | None = None
    # how many of V visual tokens it leaves; None for what `attended_tokens` says
    left: Callable[[int], int] | None = None
    # whether that layer's own attention decides, computed once more before it runs; else the
    # attention of the layer before it
    own_attention: bool = False
    # of the prompt's text behind its last visual token, the tokens whose mean attention decides:
    # from the embeddings of the visual tokens `[V, D]` and of that text `[T, D]`, float, it returns
    # `[Q]`, int64, ascending, at least one. None for the last token alone.
    queries: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    def select(self, attention: torch.Tensor, hidden: torch.Tensor) -> Selection:
        """The selection that the layer gets.

        Args:
            attention: `[V]`, float32: to each visual token.
            hidden: `[V, D]`, float: what these are before that layer.
        """
        kept = self.keep(attention)
        return Selection(kept) if self.merge is None else self.merge(hidden, attention, kept)


@dataclass(frozen=True)
class BeforeVision:
    """A selection early in the vision tower, so that dropped tokens aren't encoded."""

    parameters: tuple[str | float, ...]  # what the selection depends on
    window: int  # frames from which tokens are selected together; windows are independent
    # as `Method.select`, of the frames of a few whole windows (the last may be shorter)
    keep: Callable[[torch.Tensor], torch.Tensor]
    # for as many frames: for each the earlier one that it is compared with, or None where it is
    # kept whole
    references: Callable[[int], list[int | None]]


@dataclass(frozen=True)
class FrameMerging:
    """Merging of whole frames inside the vision tower, whose later layers run on those left."""

    parameters: tuple[Any, ...]  # what it depends on
    window: int  # frames that are merged among each other; windows are independent
    # from how many layers of a tower are used to those behind which frames are merged, counted from
    # 0, ascending
    layers: Callable[[int], list[int]]
    # called behind each of them with the hidden states `[F', P, D]`, float, of the frames of one
    # window that are left, and how many frames the window has. It returns those left behind it, and
    # for each of the F' the number of the one that it is part of, ascending.
    merge: Callable[[torch.Tensor, int], tuple[torch.Tensor, list[int]]]
    # called behind the last of them with the hidden states of those left: for each the number of
    # the group that it is in, ascending from 0
    groups: Callable[[torch.Tensor], list[int]]


@dataclass(frozen=True)
class Ablation:
    """A method with some parameters fixed, as a row of the paper's tables."""

    summary: str  # what it is, in a few words
    parameters: Mapping[str, Any]  # those that are fixed


@dataclass(frozen=True)
class Method(Options):
    """A compression method. This base class keeps all tokens: the baseline.

    Its parameters are the fields that have a `Param`; one that is None gets the model's default.

    Attributes:
        name: on the command line.
        title: in panels.
        summary: what it does, in a few words.
        paper: where it was published; None where it wasn't.
        ablations: by their name in `dycoke eval --methods`.
        needs: inputs of `choose` other than the features.
        windowed: whether it may select from each window of frames, with what `so_far` has of those
            before. Each class says so for itself: what holds for a method needn't hold for one that
            is made from it.
        attach: applies a method to a model; set by `dycoke_cli`, since methods don't depend on the
            engine.

    Raises:
        UsageError: (a ValueError) a parameter out of range, or a combination without meaning.
    """

    name: ClassVar[str] = "none"
    title: ClassVar[str] = "baseline"
    summary: ClassVar[str] = "keeps everything"
    paper: ClassVar[str | None] = None
    ablations: ClassVar[Mapping[str, Ablation]] = {}
    needs: ClassVar[tuple[Need, ...]] = ()
    windowed: ClassVar[bool] = True
    attach: ClassVar[Callable[[Any, Method], AbstractContextManager[Any]]]

    def __init_subclass__(cls) -> None:
        if cls.name == "none" and "name" not in vars(cls):  # else it would be the baseline
            cls.name = cls.__name__

    def __post_init__(self) -> None:
        check_all(self)

    def parameters(self) -> dict[str, Any]:
        """The method's parameters by name, as they are reported."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def reads_before(self) -> bool:
        """Whether the language model reads the uncompressed prompt before the method selects."""
        return "frame_attention" in self.needs

    def in_tower(self) -> BeforeVision | FrameMerging | None:
        """What is dropped or merged inside the vision tower; None where nothing is."""
        return self.before_vision() or self.merge_frames()

    def read_at_once(self, visual: int, kept: int) -> int:
        """How many visual tokens the language model reads at once, if so many are kept."""
        return visual if self.reads_before else kept

    def most_read(self, frames: int, per_frame: int) -> int:
        """The same of a clip that isn't encoded yet."""
        return self.read_at_once(frames * per_frame, self.kept_tokens(frames, per_frame))

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Select the visual tokens that the language model gets.

        Args:
            features: `[F, N, D]`, float; the tokens of F frames with N positions each.

        Returns:
            `[M]`, int64: flat indices `frame*N + position`, in the order in which the language
            model reads them.
        """
        frames, per_frame = features.shape[:2]
        return torch.arange(frames * per_frame, device=features.device)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """Select, in methods that need more than features or that merge tokens.

        Args:
            inputs: the features, and what `needs` names.
        """
        return Selection(self.select(inputs.features))

    def so_far(
        self, features: torch.Tensor, before: tuple[torch.Tensor, ...] = ()
    ) -> tuple[torch.Tensor, ...]:
        """What `choose` has to know of a video up to the end of a window (`windowed`).

        Args:
            features: `[F, N, D]`, float; of the window.
            before: what this returned for the window before; () for the first.

        Returns:
            Tensors whose size doesn't depend on the length of the video.
        """
        return ()

    def before_vision(self) -> BeforeVision | None:
        """A selection inside the vision tower; None without one.

        `choose` still selects among all tokens, of which merged ones have the embeddings of others.
        """
        return None

    def merge_frames(self) -> FrameMerging | None:
        """Merging of frames inside the vision tower; None without it."""
        return None

    def shrink(self) -> float | None:
        """The share of both sides of a frame that is left of it for the vision tower; None is all.

        Frames are scaled down to that, and up again to what the tower takes.
        """
        return None

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """How many tokens `select` keeps; known before anything is encoded."""
        return frames * per_frame

    def attended_tokens(self, kept: int) -> int:
        """How many of the kept visual tokens layers behind the method's selection attend to.

        In decode, at each step; inside the language model, during prefill as well.
        """
        return kept

    def renumbers(self) -> bool:
        """Whether kept tokens close the gaps in their positions, or keep the positions they had."""
        return False

    def finish(self, inputs: SelectionInputs, selection: Selection) -> Selection:
        """The selection that `choose` made, with dropped tokens merged where that is asked for."""
        return selection

    def weighs_merged(self) -> bool:
        """Whether attention weighs a merged token as the n tokens it stands for: log n is added."""
        return False

    def inside(self) -> LayerPruning | Sequence[LayerPruning] | None:
        """The selections inside the language model, in the order of their layers.

        None where all layers have the same tokens. Those of layers that a model lacks aren't made,
        and of several before the same layer the last alone is.
        """
        return None

    def pruning(self) -> Pruning | None:
        """Fresh decode pruning for one sequence, or None where every step attends to all."""
        return None

    def __call__(self, model: Any) -> AbstractContextManager[Any]:
        """Attach this method to a stock `transformers` model, as the engine does.

        `with method(model): model.generate(**inputs)`

        Raises:
            UsageError: the model or a parameter isn't supported; the sentence says why.
        """
        return Method.attach(model, self)


BASELINE = Method()
"""All tokens, of whatever model: no parameter depends on it."""


PUBLISHED_DEPTH = 32
"""Layers of the language models on which most methods were published."""


def layer_at(share: float, layers: int | None) -> int:
    """The layer at a share of a model's depth; None is a model of which only that isn't known."""
    depth = PUBLISHED_DEPTH if layers is None else layers
    return max(1, min(round(share * depth), depth - 1))


def with_model_defaults(
    method: Method,
    defaults: Mapping[str, Any],
    layers: int | None = None,
    model: str = "this model",
) -> Method:
    """Give a method a model's defaults in place of the parameters that are None.

    Args:
        method: as it was given; one that has them stays as it is.
        layers: of the model's language model; None leaves layers unchecked.
    """
    parameters = method.parameters()
    specs = parameters_of(type(method))
    by_depth = {
        name: layer_at(parameter.spec.of_depth, layers)
        for name, parameter in specs.items()
        if parameter.spec.of_depth is not None
    }
    defaults = {**by_depth, **defaults}
    unset = {k: v for k, v in defaults.items() if k in parameters and parameters[k] is None}
    settled = replace(method, **unset) if unset else method
    for name, parameter in specs.items():
        spec, layer = parameter.spec, getattr(settled, name)
        if not spec.layer or layers is None or layer is None:
            continue
        is_on = spec.switch is None or getattr(settled, spec.switch)
        if is_on and not (least := spec.bounds["at_least"]) <= layer < layers:
            raise UsageError(
                f"{name} must be from {least} to {layers - 1} for {model}, which has "
                f"{layers} layers, not {layer}"
            )
    return settled


def document_parameters(kind: type) -> None:
    """Put the parameters of a dataclass at the end of its docstring: text, range and default."""
    lines = []
    for name, parameter in parameters_of(kind).items():
        allowed = f" {parameter.range}." if parameter.range else ""
        default = f" Default: {parameter.default_in_words}." if parameter.default_in_words else ""
        about = f"{name}: {parameter.spec.help}{allowed}{default}"
        lines += textwrap.wrap(about, 100, initial_indent="    ", subsequent_indent="        ")
    if lines:
        text = (inspect.getdoc(kind) or "").partition(_ARGS)[0]  # without those of a base class
        kind.__doc__ = "\n".join([text + _ARGS, *lines])


def settled_value(parameter: T | None) -> T:
    """A parameter whose default depends on the model, of a method that was settled for one."""
    if parameter is None:
        raise TypeError("the method isn't settled for a model; see dycoke_cli/engine/settling.py")
    return parameter


def is_windowed(method: type[Method]) -> bool:
    """Whether a method may select from each window of frames; see `Method.windowed`."""
    return bool(vars(method).get("windowed"))


def layer_prunings(method: Method, layers: int | None = None) -> tuple[LayerPruning, ...]:
    """The selections inside the language model, by their layers; () where all have the same tokens.

    Args:
        layers: of the language model; None where that isn't known.
    """
    found = method.inside()
    each = [found] if isinstance(found, LayerPruning) else found or ()
    by_layer = {pruning.layer: pruning for pruning in each}
    return tuple(by_layer[layer] for layer in sorted(by_layer) if layers is None or layer < layers)


def read_by_layer(method: Method, kept: int, layers: int) -> list[int]:
    """Visual tokens of the prompt that each layer reads, if so many are read at all."""
    prunings = {pruning.layer: pruning for pruning in layer_prunings(method, layers)}
    counts = []
    for layer in range(layers):
        if layer in prunings:
            kept = (prunings[layer].left or method.attended_tokens)(kept)
        counts.append(kept)
    return counts


def attended_by_layer(method: Method, kept: int, layers: int) -> list[int]:
    """Visual tokens that each layer attends to in a decoding step, if so many are read."""
    pruning = method.pruning()
    if pruning is None:
        return read_by_layer(method, kept, layers)
    active = method.attended_tokens(kept)
    return [kept if layer < pruning.layer else active for layer in range(layers)]


def tokens_left(tokens: int, ratio: float) -> int:
    """How many of `tokens` are kept if that fraction is dropped: `int(tokens * (1 - ratio))`."""
    return int(tokens * (1 - ratio))


def top(attention: torch.Tensor, count: int) -> torch.Tensor:
    """The tokens with the highest `attention[V]`: `[count]`, int64, ascending.

    Ties go to the lower index.
    """
    return attention.argsort(descending=True, stable=True)[:count].sort().values


def without_lowest(attention: torch.Tensor, ratio: float) -> torch.Tensor:
    """The `top` tokens that are left if that fraction, of lowest attention, is dropped."""
    return top(attention, tokens_left(len(attention), ratio))


def into_itself(kept: torch.Tensor, tokens: int) -> torch.Tensor:
    """`[tokens]`, int64: of each token in `kept[M]`, int64, its index, -1 of each other one."""
    into = kept.new_full((tokens,), -1)
    into[kept] = kept
    return into


def counted_on(into: torch.Tensor, start: int) -> torch.Tensor:
    """`Selection.into` of tokens behind `start` others, by indices into all; -1 stays -1."""
    return into.where(into < 0, into + start)
