"""Search space of a tuning: a grid over the parameters of every registered method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods import (
    Downsample,
    RandomMerge,
    UniformFrames,
    UniformSpatial,
)
from dycoke_cli.compression.registry import METHODS, name_of, places
from dycoke_cli.engine.binding import bind
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel

BUDGETS = {"retain": (0.1, 0.25, 0.5), "merge_ratio": (0.9, 0.7, 0.5)}
"""Parameters that say how much is kept, smallest budget first; a guard's ladder varies these."""
_VARIED: dict[str, tuple[Any, ...]] = {
    "prune_ratio": (0.9,),
    "positions": ("kept", "renumbered"),
    "merge_stage": ("vision",),
}
"""Each varied alone, from the default."""
_CONTROLS = (RandomMerge, UniformFrames, UniformSpatial, Downsample)


def grid(model: ResolvedModel) -> list[Method]:
    """All settings that the model supports, without duplicates, likely ones first.

    Per method: every combination of budget and prune layer; then, at each budget, one other
    parameter at a time, because the full product would take too long to measure.

    A search with little time compares only the first ones. So defaults at each budget come first,
    in the order of `dycoke methods`; then the variations; controls are last of both.
    """
    settings: dict[str, tuple[tuple[bool, bool], Method]] = {}
    for kind in METHODS.values():
        if not places(kind):
            continue
        for parameters in _settings(kind, model.layers):
            method = _supported_method(kind, parameters, model)
            if method is not None:
                rank = not parameters.keys() <= BUDGETS.keys(), kind in _CONTROLS
                settings.setdefault(name_of(method), (rank, method))
    # A stable sort: within a rank the order stays.
    return [method for _, method in sorted(settings.values(), key=lambda each: each[0])]


def ladder_of(method: Method, among: Mapping[str, Method]) -> list[str]:
    """The settings that equal a method except for its budget, itself included, smallest first."""

    def without_budget(each: Method) -> dict[str, Any]:
        return {k: v for k, v in each.parameters().items() if k not in BUDGETS}

    same_but_budget = {
        name: each
        for name, each in among.items()
        if type(each) is type(method) and without_budget(each) == without_budget(method)
    }
    # Any clip will do: only the order of the budgets counts.
    return sorted(same_but_budget, key=lambda name: same_but_budget[name].kept_tokens(64, 196))


def _settings(kind: type[Method], layers: int) -> Iterator[dict[str, Any]]:
    parameters = parameters_of(kind)
    budgets: list[dict[str, Any]] = next(
        (
            [{name: value} for value in values]
            for name, values in BUDGETS.items()
            if name in parameters
        ),
        [{}],
    )
    at_layers: list[dict[str, Any]] = [{}]
    if "prune_layer" in parameters:
        places = {3, layers // 3, layers // 2, 3 * layers // 4}
        at_layers += [{"prune_layer": n} for n in sorted(places) if 1 <= n < layers]
    for budget, layer in product(budgets, at_layers):
        yield budget | layer
    for budget in budgets:
        for name, values in _VARIED.items():
            yield from (budget | {name: value} for value in values if name in parameters)


def _supported_method(
    kind: type[Method], parameters: dict[str, Any], model: ResolvedModel
) -> Method | None:
    if parameters.get("positions") == "renumbered" and not model.family.counts_tokens:
        return None
    try:
        return bind(kind(**parameters), model.traits).method
    except UsageError:
        return None
