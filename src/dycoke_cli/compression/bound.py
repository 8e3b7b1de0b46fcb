"""A method bound to a model: all that the engine reads and calls of a method.

`engine/binding.py` makes one, once, where a session or a plan begins. What is the same for every
prompt is an attribute, computed at its first use; what depends on a prompt is a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from dycoke_cli.compression.base import (
    BeforeVision,
    FrameMerging,
    LayerPruning,
    Method,
    Pruning,
)
from dycoke_cli.compression.promises import check_selection, is_foreign
from dycoke_cli.compression.selection import Need, Selection, SelectionInputs
from dycoke_cli.compression.selection_hooks import SelectionHooks, hooks_of
from dycoke_cli.param import check_layer, parameters_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BoundMethod:
    """A method with every parameter set for one model, which supports it."""

    method: Method  # none of its parameters is None where the default is the model's

    def __reduce__(self) -> tuple[Any, ...]:
        # Attributes have functions defined within others, which can't be pickled: a worker
        # computes them again.
        return type(self), (self.method,)

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
    def windowed(self) -> bool:
        """Whether it may select from each window of frames; see `Method.windowed`."""
        return is_windowed(type(self.method))

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
    def inside(self) -> LayerPruning | None:
        """The selection inside the language model; None where all layers have the same tokens."""
        return self.method.inside()

    @cached_property
    def decode_pruning(self) -> Pruning | None:
        """Settings of decode pruning; None where every step attends to all tokens.

        The `selector` in it is a model of those that sequences get: it has a state, so each
        sequence is given its own, by `pruning`.
        """
        return self.method.pruning()

    @cached_property
    def adds_bias(self) -> bool:
        """Whether `attention_bias` may add anything, whatever the selection is."""
        return self._hooks.adds_bias()

    @cached_property
    def _is_foreign(self) -> bool:
        return is_foreign(self.method)

    @cached_property
    def _hooks(self) -> SelectionHooks:
        return hooks_of(self.method)

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
        if self._is_foreign:
            check_selection(self.method, inputs, selection)
        return self._hooks.finish(inputs, selection)

    def so_far(
        self, features: torch.Tensor, before: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        """What `select` has to know of a video up to the end of a window; see `Method.so_far`."""
        return self.method.so_far(features, before)

    def attention_bias(self, selection: Selection) -> torch.Tensor | None:
        """What is added to attention logits: `[M]`, float64, on the CPU; None where nothing is."""
        return self._hooks.attention_bias(selection)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """How many tokens `select` keeps; known before anything is encoded."""
        return self.method.kept_tokens(frames, per_frame)

    def attended_tokens(self, kept: int) -> int:
        """How many of the kept visual tokens layers behind the method's selection attend to."""
        return self.method.attended_tokens(kept)


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


def settle(
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
    unset = {k: v for k, v in defaults.items() if k in parameters and parameters[k] is None}
    settled = replace(method, **unset) if unset else method
    for name, parameter in parameters_of(type(method)).items():
        spec, layer = parameter.spec, getattr(settled, name)
        if not spec.layer or layers is None or layer is None:
            continue
        if spec.switch is None or getattr(settled, spec.switch):  # off, it means nothing
            check_layer(name, layer, layers, model, spec.least_layer)
    return BoundMethod(settled)
