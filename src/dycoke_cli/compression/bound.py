"""A method bound to a model: all that the engine asks of a method.

`engine/binding.py` makes one, once, where a session or a plan begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from dycoke_cli.compression.base import BeforeVision, FrameMerging, Inside, Method, Pruning
from dycoke_cli.compression.selection import Given, Need, Selection
from dycoke_cli.compression.selection_hooks import hooks_of
from dycoke_cli.param import check_layer, parameters_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BoundMethod:
    """A method whose parameters are settled for one model, and that the model can serve.

    Args:
        method: none of its parameters waits for a default of the model.
    """

    method: Method

    @property
    def name(self) -> str:
        """On the command line."""
        return self.method.name

    @property
    def title(self) -> str:
        """In panels."""
        return self.method.title

    @property
    def needs(self) -> tuple[Need, ...]:
        """Inputs of the selection other than the features."""
        return self.method.needs

    def parameters(self) -> dict[str, Any]:
        """The method's parameters by name, as they are reported."""
        return self.method.parameters()

    def changed(self, **parameters: Any) -> Self:
        """The same with other values of some parameters.

        Raises:
            UsageError: one out of range, or a combination without meaning.
        """
        return replace(self, method=replace(self.method, **parameters))

    def compress(self, given: Given) -> Selection:
        """What the language model gets: the selection, dropped tokens merged where that is asked.

        Args:
            given: the features, and what `needs` names.
        """
        return hooks_of(self.method).finish(given, self.method.choose(given))

    def adds_bias(self) -> bool:
        """Whether `attention_bias` may add anything, whatever the selection is."""
        return hooks_of(self.method).adds_bias()

    def attention_bias(self, selection: Selection) -> torch.Tensor | None:
        """What is added to attention logits: `[M]`, float64, on the CPU; None where nothing is."""
        return hooks_of(self.method).attention_bias(selection)

    def in_tower(self) -> BeforeVision | FrameMerging | None:
        """What is dropped or merged inside the vision tower; None where nothing is."""
        return self.method.before_vision() or self.method.merge_frames()

    def before_vision(self) -> BeforeVision | None:
        """The selection inside the vision tower; None without one."""
        return self.method.before_vision()

    def merge_frames(self) -> FrameMerging | None:
        """The merging of frames inside the vision tower; None without it."""
        return self.method.merge_frames()

    def shrink(self) -> float | None:
        """The share of both sides of a frame that the vision tower gets; None is all."""
        return self.method.shrink()

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """How many tokens `compress` keeps; known before anything is encoded."""
        return self.method.kept_tokens(frames, per_frame)

    def attended_tokens(self, kept: int) -> int:
        """How many of the kept visual tokens layers behind the method's selection attend to."""
        return self.method.attended_tokens(kept)

    def renumbers(self) -> bool:
        """Whether kept tokens close the gaps in their positions."""
        return self.method.renumbers()

    def inside(self) -> Inside | None:
        """The selection inside the language model; None where all layers have the same tokens."""
        return self.method.inside()

    def pruning(self) -> Pruning | None:
        """Fresh decode pruning for one sequence, or None where every step attends to all."""
        return self.method.pruning()


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
        defaults: of parameters, by name; those that the method doesn't have are passed over.
        layers: of the model's language model; None leaves layers unchecked.
        model: its name, for an error.

    Raises:
        UsageError: (a ValueError) the model doesn't have a layer that a parameter names.
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
