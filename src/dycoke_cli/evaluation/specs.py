"""What `--methods` says: names with parameters, as in `none,dycoke:merge_ratio=0.3,no-video`.

With `--retain`, each method that takes a budget has a row for each.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine.tower_needs import check_tower
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.resolve import ResolvedModel
    from dycoke_cli.video import Sampling


@dataclass(frozen=True)
class Named:
    """A row that a table of the paper has: a method, and what makes it that row.

    Args:
        method: in the registry of methods.
        summary: what it is, in a few words.
        fixed: parameters that belong to the name.
        frames: how many the model sees whatever `--frames` says: 0 is no video at all.
    """

    method: str
    summary: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    frames: int | None = None


ABLATIONS: dict[str, Named] = {
    **{
        name: Named(method.name, ablation.summary, ablation.parameters)
        for method in METHODS.values()
        for name, ablation in method.ablations.items()
    },
    "no-video": Named("none", "blind: text only", frames=0),
    "one-frame": Named("none", "single frame", frames=1),
}
"""The ablations of methods, and the controls of the baseline: blind and single frame."""


ALL = "all"
"""Every method of the registry, in `--methods`."""


@dataclass(frozen=True)
class Spec:
    """One row of the table, before the model is known.

    Args:
        text: as it was given.
        name: of a method, or in `ABLATIONS`.
        method: in the registry of methods.
        given: parameters, those that belong to the name included.
        frames: see `Named`.
        if_possible: whether it is left out where the model can't serve the method.
    """

    text: str
    name: str
    method: str
    given: dict[str, Any]
    frames: int | None = None
    if_possible: bool = False

    @property
    def is_baseline(self) -> bool:
        """Whether this is what all others are compared with."""
        return self.method == "none" and not self.is_control

    @property
    def is_control(self) -> bool:
        """Whether the model isn't shown the frames that were chosen: blind, or a single frame."""
        return self.frames is not None

    def sampled(self, sampling: Sampling) -> Sampling | None:
        """Which frames the model sees; None is no video at all.

        Args:
            sampling: of rows that don't have their own number of frames.
        """
        if self.frames is None:
            return sampling
        if self.frames == 0:
            return None
        return replace(sampling, frames=self.frames, fps=None, max_frames=None)

    def for_model(self, model: ResolvedModel) -> Method:
        """The method, with a model's own defaults for what wasn't given.

        Raises:
            UsageError: see `create`; or the model has no such layer, or its family can't serve the
                method.
        """
        method = self.create()
        with _naming(self.text):
            check_tower(model.config, method)
        return self.suited(model.method_defaults, model.layers, model.source.name)

    def suited(self, defaults: Mapping[str, Any], layers: int | None, model: str) -> Method:
        """The method with a model's defaults; see `Method.suited`.

        Raises:
            UsageError: a parameter out of range, or the model has no such layer.
        """
        method = self.create()
        with _naming(self.text):
            return method.suited(defaults, layers, model)

    def create(self) -> Method:
        """The method; what wasn't given and depends on the model is still open.

        Raises:
            UsageError: a parameter out of range, or a combination without meaning.
        """
        with _naming(self.text):
            return create(self.method, **self.given)


def parse_specs(text: str, budgets: str | None = None) -> list[Spec]:
    """Read a list such as `none,dycoke:merge_ratio=0.3:positions=kept`.

    Args:
        text: of `--methods`.
        budgets: of `--retain`, such as `0.5,0.25`; None leaves every method at its own.

    Raises:
        UsageError: a name or parameter that isn't there, a value that doesn't fit, the same twice,
            budgets for methods that take none.
    """
    specs = []
    for part in text.split(","):
        if part.strip() == ALL:
            specs += [replace(_parse(name), if_possible=True) for name in METHODS]
        else:
            specs.append(_parse(part.strip()))
    if budgets is not None:
        specs = _at_budgets(specs, _budgets(budgets))
    seen: set[str] = set()
    for spec in specs:
        if spec.text in seen:
            raise UsageError(f"--methods has {spec.text} twice")
        seen.add(spec.text)
        spec.create()
    return specs


def _budgets(text: str) -> list[str]:
    """The values of `--retain`, each a share as methods take it."""
    retain = parameters_of(Budgeted)["retain"]
    values = [value.strip() for value in text.split(",")]
    for value in values:
        try:
            retain.check(retain.parse(value))
        except UsageError as error:
            raise UsageError(f"--{error}") from error
    return values


def _at_budgets(specs: list[Spec], values: list[str]) -> list[Spec]:
    """A row at each budget for each that takes one and hasn't got it."""
    rows: list[Spec] = []
    for spec in specs:
        if "retain" in parameters_of(METHODS[spec.method]) and "retain" not in spec.given:
            at_each = (_parse(f"{spec.text}:retain={value}") for value in values)
            rows += [replace(row, if_possible=spec.if_possible) for row in at_each]
        else:
            rows.append(spec)
    if rows == specs:
        takers = [name for name, method in METHODS.items() if "retain" in parameters_of(method)]
        raise UsageError(
            f"--retain is for methods that take a budget ({', '.join(takers)}); --methods names "
            "none that hasn't got one"
        )
    return rows


def _parse(text: str) -> Spec:
    names = {**{method: Named(method, "") for method in METHODS}, **ABLATIONS}
    name, *pairs = text.split(":")
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join([*names, ALL])
        raise UsageError(f"--methods: there is no {name!r} (there are {known}){hint}")
    named = names[name]
    parameters = parameters_of(METHODS[named.method])
    given = dict(named.fixed)
    for pair in pairs:
        parameter, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--methods {text}: write a parameter as name=value, not {pair!r}")
        if parameter not in parameters:
            known = ", ".join(parameters) or "none"
            raise UsageError(f"--methods {text}: {name} has no {parameter!r} (it has {known})")
        if parameter in given:
            raise UsageError(f"--methods {text}: {parameter} is already set by {name}, or twice")
        with _naming(text):
            given[parameter] = parameters[parameter].parse(value)
    return Spec(text, name, named.method, given, named.frames)


@contextmanager
def _naming(row: str) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(f"--methods {row}: {error}") from error
