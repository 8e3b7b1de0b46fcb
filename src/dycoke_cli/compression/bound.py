"""A method bound to a model: all that the engine reads and calls of a method.

`engine/binding.py` makes one, once, where a session or a plan begins. What is the same for every
prompt is an attribute, computed at its first use; what depends on a prompt is a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Self, TypeVar

from dycoke_cli import plugins
from dycoke_cli.compression.base import (
    BeforeVision,
    FrameMerging,
    LayerPruning,
    Method,
    Pruning,
)
from dycoke_cli.compression.selection import Need, Selection, SelectionInputs
from dycoke_cli.errors import DycokeError
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import check_layer, layer_at, parameters_of

_PACKAGE = f"{__name__.partition('.')[0]}."
T = TypeVar("T", int, float)


@dataclass(frozen=True)
class BoundMethod:
    """A method with every parameter set for one model, which supports it."""

    method: Method  # none of its parameters is None where the default is the model's
    # of the model's language model; None where that isn't known
    layers: int | None = field(default=None, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Attributes have functions defined within others, which can't be pickled: a worker
        # computes them again.
        return type(self), (self.method, self.layers)

    @cached_property
    def name(self) -> str:
        """On the command line."""
        return self.method.name

    @cached_property
    def title(self) -> str:
        """In panels."""
        return self.method.title

    @cached_property
    def needs(self) -> tuple[Need, ...]:
        """Inputs of the selection other than the features."""
        return self.method.needs

    @cached_property
    def reads_before(self) -> bool:
        """Whether the language model reads the uncompressed prompt before the method selects."""
        return "frame_attention" in self.needs

    @cached_property
    def is_for_question(self) -> bool:
        """Whether another question about the same video has another selection."""
        return "question" in self.needs or self.reads_before

    @cached_property
    def before_vision(self) -> BeforeVision | None:
        """The selection inside the vision tower; None without one."""
        return self.method.before_vision()

    @cached_property
    def merge_frames(self) -> FrameMerging | None:
        """The merging of frames inside the vision tower; None without it."""
        return self.method.merge_frames()

    @cached_property
    def in_tower(self) -> BeforeVision | FrameMerging | None:
        """What is dropped or merged inside the vision tower; None where nothing is."""
        return self.before_vision or self.merge_frames

    @cached_property
    def shrink(self) -> float | None:
        """The share of both sides of a frame that the vision tower gets; None is all."""
        return self.method.shrink()

    @cached_property
    def renumbers(self) -> bool:
        """Whether positions of kept tokens become contiguous."""
        return self.method.renumbers()

    @cached_property
    def inside(self) -> tuple[LayerPruning, ...]:
        """The selections inside the language model; () where all layers have the same tokens."""
        found = self.method.inside()
        each = [found] if isinstance(found, LayerPruning) else found or ()
        by_layer = {pruning.layer: pruning for pruning in each}
        return tuple(
            pruning
            for layer, pruning in sorted(by_layer.items())
            if self.layers is None or layer < self.layers
        )

    @cached_property
    def decode_pruning(self) -> Pruning | None:
        """Settings of decode pruning; None where every step attends to all tokens.

        The `selector` in it is a model of those that sequences get: it has a state, so each
        sequence is given its own, by `pruning`.
        """
        return self.method.pruning()

    @cached_property
    def weighs_merged(self) -> bool:
        """Whether attention weighs a merged token as the tokens it stands for."""
        return self.method.weighs_merged()

    def pruning(self) -> Pruning | None:
        """Decode pruning of one sequence, with a selector of its own; or None."""
        return self.method.pruning()

    def parameters(self) -> dict[str, Any]:
        """The method's parameters by name, as they are reported."""
        return self.method.parameters()

    def changed(self, **parameters: Any) -> Self:
        """The same with other values of some parameters."""
        return replace(self, method=replace(self.method, **parameters))

    def select(self, inputs: SelectionInputs) -> Selection:
        """Select the tokens that the language model gets; merge dropped ones if asked."""
        selection = self.method.choose(inputs)
        kind = type(self.method)
        if not kind.__module__.startswith(_PACKAGE) and kind not in _checked:
            check_selection(self.method, inputs, selection)
            _checked.add(kind)
        return self.method.finish(inputs, selection)

    def so_far(
        self, features: torch.Tensor, before: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        """What `select` has to know of a video up to the end of a window; see `Method.so_far`."""
        return self.method.so_far(features, before)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """How many tokens `select` keeps; known before anything is encoded."""
        return self.method.kept_tokens(frames, per_frame)

    def most_read(self, frames: int, per_frame: int) -> int:
        """How many visual tokens the language model reads at once."""
        return self.read_at_once(frames * per_frame, self.kept_tokens(frames, per_frame))

    def read_at_once(self, visual: int, kept: int) -> int:
        """The same of a prompt of which so many are kept: all, where it is read before."""
        return visual if self.reads_before else kept

    def attended_tokens(self, kept: int) -> int:
        """How many of the kept visual tokens layers behind the method's selection attend to."""
        return self.left_inside(kept)[-1] if self.inside else self._attended(kept)

    def left_inside(self, kept: int) -> list[int]:
        """How many of the kept visual tokens are left behind each selection of `inside`."""
        counts = [self._attended if each.left is None else each.left for each in self.inside]
        return [*accumulate(counts, lambda left, count: count(left), initial=kept)][1:]

    def read_by_layer(self, kept: int, layers: int) -> list[int]:
        """Visual tokens of the prompt that each layer reads, if so many are read at all."""
        numbers = [each.layer for each in self.inside]
        return by_layer(kept, dict(zip(numbers, self.left_inside(kept), strict=True)), layers)

    def attended_by_layer(self, kept: int, layers: int) -> list[int]:
        """Visual tokens that each layer attends to in a decoding step, if so many are read."""
        if self.decode_pruning is None:
            return self.read_by_layer(kept, layers)
        return by_layer(kept, {self.decode_pruning.layer: self._attended(kept)}, layers)

    def _attended(self, kept: int) -> int:
        return self.method.attended_tokens(kept)


def by_layer(kept: T, behind: Mapping[int, T], layers: int) -> list[T]:
    """A number for each layer: what it is for the first ones, and from some layers on."""
    counts = []
    for layer in range(layers):
        kept = behind.get(layer, kept)
        counts.append(kept)
    return counts


def is_windowed(method: type[Method]) -> bool:
    """Whether a method may select from each window of frames; see `Method.windowed`."""
    return bool(vars(method).get("windowed"))


@dataclass(frozen=True)
class PrefillOnly(BoundMethod):
    """The same without decode pruning, for an answer that takes no decoding step."""

    @cached_property
    def decode_pruning(self) -> None:
        """None: what is read behind the prompt attends to all tokens that the prompt has."""
        return None

    def pruning(self) -> None:
        """No selection of any sequence."""


BASELINE = BoundMethod(Method())
"""All tokens, of whatever model: no parameter depends on it."""


def with_model_defaults(
    method: Method,
    defaults: Mapping[str, Any],
    layers: int | None = None,
    model: str = "this model",
) -> BoundMethod:
    """Give a method a model's defaults in place of the parameters that are None.

    Args:
        method: as it was given.
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
        if spec.switch is None or getattr(settled, spec.switch):  # off, it means nothing
            check_layer(name, layer, layers, model, spec.least_layer)
    return BoundMethod(settled, layers)


# What a method promises of its selection. Tests check bundled methods; the class of a plug-in is
# checked at its first selection, and by `dycoke methods check`.

_checked: set[type[Method]] = set()


def check_selection(method: Method, inputs: SelectionInputs, selection: Any) -> None:
    """Check a selection against what `Selection` and `kept_tokens` promise of it."""
    broken = _broken(method, inputs, selection)
    if broken is not None:
        came, promised = broken
        code = plugins.version("method", method.name)
        origin = "" if code is None else f" ({code.rpartition(' ')[0]})"
        raise DycokeError(f"the method {method.name}{origin} returned {came}; promised: {promised}")


def check_indices(
    indices: Any, tokens: int, count: int, by: str, *, ascending: bool = True
) -> tuple[str, str] | None:
    """What indices are, and what was promised of them; None where the promise is kept.

    Args:
        indices: `[M]`, int64, each once, or any object.
    """
    if not torch.is_tensor(indices) or indices.dtype != torch.int64 or indices.ndim != 1:
        return _kind(indices), "indices [M], int64"
    if not len(indices):
        return (f"{0} indices", f"{count}, by {by}") if count else None
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= tokens:
        return f"the index {low if low < 0 else high}", f"indices from 0 to {tokens - 1}"
    ordered = indices if ascending else indices.sort().values
    behind = (ordered[1:] <= ordered[:-1]).nonzero()
    if len(behind):
        at = int(behind[0])
        pair = ordered[at : at + 2].tolist()
        return f"the index {pair[1]} behind {pair[0]}", "ascending indices, each once"
    if len(indices) != count:
        return f"{len(indices)} indices", f"{count}, by {by}"
    return None


def _broken(method: Method, inputs: SelectionInputs, selection: Any) -> tuple[str, str] | None:
    frames, per_frame, width = inputs.features.shape
    if not isinstance(selection, Selection):
        return f"{_kind(selection)} from choose", "a Selection"
    count, call = method.kept_tokens(frames, per_frame), f"kept_tokens({frames}, {per_frame})"
    if type(count) is not int:
        return f"{count!r} from {call}", "an int"
    tokens = frames * per_frame
    features, into = selection.features, selection.into
    # Merged tokens may be read in another order, for each has features of its own.
    broken = check_indices(selection.kept, tokens, count, call, ascending=features is None)
    if broken is not None:
        return broken
    if features is not None:
        if not torch.is_tensor(features) or features.shape != (count, width):
            return f"features that are {_kind(features)}", f"features [{count}, {width}]"
        lost = int((~features.isfinite()).any(-1).sum())
        if lost:
            return f"NaN or infinite features for {lost} of {count} tokens", "finite features"
    if into is not None and (not torch.is_tensor(into) or into.shape != (tokens,)):
        return f"`into` that is {_kind(into)}", f"`into` [{tokens}], int64"
    return None


def _kind(value: Any) -> str:
    """A value in words: the dtype and shape of a tensor, the type of anything else."""
    if not hasattr(value, "shape"):
        return f"a {type(value).__name__}"
    return f"a {type(value).__name__} {[*value.shape]} of {value.dtype}"
