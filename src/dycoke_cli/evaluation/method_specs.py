"""Parser of `--method` and `--methods`: `NAME[:parameter=value,…]`, one or a list of them.

In a list such as `none,dycoke:merge_ratio=0.3,prune_layer=9,no-video` a piece that is a parameter
belongs to the method before it. Between parameters a colon does as well, in names a hyphen or an
underscore. With `--retain`, each method that takes a budget has a row for each.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.registry import DEFAULT, METHODS, create
from dycoke_cli.engine.binding import bind
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.resolve import ResolvedModel
    from dycoke_cli.models.traits import ModelTraits
    from dycoke_cli.runs.remote.served_model import ServedModel
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

_NAMES = {**{method: Named(method, "") for method in METHODS}, **ABLATIONS}
_PARAMETER = re.compile(r"[\w-]+\s*=")


@dataclass(frozen=True)
class Spec:
    """One row of the table, before the model is known.

    Args:
        text: as it was given, but for spaces, hyphens and commas: however it is written, a row has
            one name.
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
        return self.name == "none"

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

    def for_model(self, model: ResolvedModel | ServedModel) -> Method:
        """The method, with a model's own defaults for what wasn't given; a server has these.

        Raises:
            UsageError: see `create`; or the model has no such layer, its family can't serve the
                method, or its server refuses it.
        """
        from dycoke_cli.runs.remote.served_model import ServedModel

        method = self.create()
        if isinstance(model, ServedModel):
            with _naming(self.text):
                model.check(method)
            return method
        return self.bound(model.traits) if model.traits.listed else method

    def bound(self, model: ModelTraits) -> Method:
        """The method with a model's defaults; see `bind`.

        Raises:
            UsageError: a parameter out of range, or the model can't serve the method.
        """
        method = self.create()
        with _naming(self.text):
            return bind(method, model).method

    def create(self) -> Method:
        """The method; what wasn't given and depends on the model is still open.

        Raises:
            UsageError: a parameter out of range, or a combination without meaning.
        """
        with _naming(self.text):
            return create(self.method, **self.given)


def parse_specs(text: str, budgets: str | None = None) -> list[Spec]:
    """Read a list such as `none,dycoke:merge_ratio=0.3,positions=kept`.

    Args:
        text: of `--methods`.
        budgets: of `--retain`, such as `0.5,0.25`; None leaves every method at its own.

    Raises:
        UsageError: a name or parameter that isn't there, a value that doesn't fit, the same twice,
            budgets for methods that take none.
    """
    specs = []
    for row in _rows(text):
        if row == ALL:
            specs += [replace(_parse(name), if_possible=True) for name in METHODS]
        else:
            specs.append(_parse(row))
    if budgets is not None:
        specs = _at_budgets(specs, _budgets(budgets))
    seen: set[str] = set()
    for spec in specs:
        if spec.text in seen:
            raise UsageError(f"--methods has {spec.text} twice")
        seen.add(spec.text)
        spec.create()
    return specs


def parse_spec(text: str, flag: str = "--method") -> Spec:
    """Read one method, such as `dycoke:merge_ratio=0.3,positions=kept`; an ablation is one, too.

    Parameters are checked one by one: what they make together, flags may change.

    Args:
        text: of `--method`.
        flag: what errors call it.

    Raises:
        UsageError: no such method or parameter, a value that doesn't fit, or several methods.
    """
    rows = _rows(text)
    if len(rows) > 1 or rows == [ALL]:
        raise UsageError(
            f"{flag} takes one method, not {text}; `dycoke bench` and `dycoke eval` compare "
            "several (--methods)"
        )
    spec = _parse(rows[0], flag)
    if spec.is_control:
        raise UsageError(
            f"{flag}: {spec.name} is a row of `dycoke eval` and `dycoke bench` (--methods), not "
            "a method"
        )
    return spec


def _rows(text: str) -> list[str]:
    """The pieces of a list; one that is a parameter continues the row before it."""
    rows: list[str] = []
    for piece in text.split(","):
        if rows and _PARAMETER.match(piece.strip()):
            rows[-1] += f":{piece.strip()}"
        else:
            rows.append(piece.strip())
    return rows


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


def _parse(text: str, flag: str = "--methods") -> Spec:
    given_name, *pairs = (part.strip() for part in text.split(":"))
    name = given_name.replace("_", "-")
    if _PARAMETER.match(given_name):
        raise UsageError(f"{flag} {text}: name the method first, as in {DEFAULT}:{text}")
    if name == ALL:
        raise UsageError(f"{flag} {text}: {ALL} takes no parameters; name a method")
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join([*_NAMES, ALL] if flag == "--methods" else METHODS)
        raise UsageError(f"{flag}: there is no method {given_name!r} (there are {known}){hint}")
    named = _NAMES[name]
    parameters = parameters_of(METHODS[named.method])
    given, written = dict(named.fixed), [name]
    for pair in pairs:
        given_parameter, equals, value = (part.strip() for part in pair.partition("="))
        parameter = given_parameter.replace("-", "_")
        if not equals:
            raise UsageError(f"{flag} {text}: write a parameter as name=value, not {pair!r}")
        if parameter not in parameters:
            known = ", ".join(parameters) or "none"
            raise UsageError(f"{flag} {text}: {name} has no {given_parameter!r} (it has {known})")
        if parameter in given:
            raise UsageError(f"{flag} {text}: {parameter} is already set by {name}, or twice")
        with _naming(text, flag):
            given[parameter] = parameters[parameter].parse(value)
            parameters[parameter].check(given[parameter])
        written.append(f"{parameter}={value}")
    return Spec(":".join(written), name, named.method, given, named.frames)


@contextmanager
def _naming(row: str, flag: str = "--methods") -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{flag} {row}: {error}") from error
