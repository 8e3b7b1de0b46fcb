"""Parser of `--method` and `--methods`: `NAME[:parameter=value,…]`, one or a list of them.

In a list such as `none,dycoke:merge_ratio=0.3,prune_layer=9,no-video`, an item of the form
`parameter=value` belongs to the method before it. Parameters may also be separated by colons. Names
may have hyphens or underscores. `--retain` adds a row per budget for each method that takes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.registry import DEFAULT, METHODS, create, meant, owner_near
from dycoke_cli.errors import UsageError, did_you_mean, naming
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.compression.method import Method
    from dycoke_cli.video import Sampling


@dataclass(frozen=True)
class _NamedSpec:
    """Name that `--methods` accepts: a method with fixed parameters, such as an ablation."""

    method: str  # name in the registry of methods
    summary: str  # description in a few words
    fixed: Mapping[str, Any] = field(default_factory=dict)  # parameters that the name sets
    # number of frames, overriding `--frames`; 0 for no video, None for no override
    frames: int | None = None


ABLATIONS: dict[str, _NamedSpec] = {
    **{
        name: _NamedSpec(method.name, ablation.summary, ablation.parameters)
        for method in METHODS.values()
        for name, ablation in method.ablations.items()
    },
    "no-video": _NamedSpec("none", "blind: text only", frames=0),
    "one-frame": _NamedSpec("none", "single frame", frames=1),
}
"""Ablations of methods, and the controls of the baseline: blind and single frame."""


ALL = "all"
"""Name of all registered methods in `--methods`."""

_NAMES = {**{method: _NamedSpec(method, "") for method in METHODS}, **ABLATIONS}
_PARAMETER = re.compile(r"[\w-]+\s*=")


@dataclass(frozen=True)
class Spec:
    """Parsed entry of `--methods`, before it is settled for a model."""

    text: str  # the entry in canonical notation: spaces, hyphens and commas are normalised
    name: str  # name of a method, or in `ABLATIONS`
    method: str  # name in the registry of methods
    given: dict[str, Any]  # explicit parameters, including those that the name sets
    # number of frames, overriding `--frames`; 0 for no video, None for no override
    frames: int | None = None
    if_possible: bool = False  # whether the row is skipped if the model doesn't support the method

    @property
    def is_baseline(self) -> bool:
        """Whether this is the baseline."""
        return self.name == "none"

    @property
    def is_control(self) -> bool:
        """Whether this is a control: blind, or a single frame."""
        return self.frames is not None

    def sampled(self, sampling: Sampling) -> Sampling | None:
        """Frame sampling of the row; None for no video."""
        if self.frames is None:
            return sampling
        if self.frames == 0:
            return None
        return replace(sampling, frames=self.frames, fps=None, max_frames=None)

    def create(self) -> Method:
        """The method; parameters that depend on the model are None."""
        with naming(f"--methods {self.text}"):
            return create(self.method, **self.given)


def parse_specs(text: str, budgets: str | None = None) -> list[Spec]:
    """Parse a list such as `none,dycoke:merge_ratio=0.3,positions=kept`.

    Args:
        budgets: value of `--retain`, such as `0.5,0.25`; None keeps each method's own budget.
    """
    specs = []
    for row in _rows(text):
        if row == ALL:
            specs += [replace(_parse(name), if_possible=True) for name in METHODS]
        else:
            specs.append(_parse(row))
    if budgets is not None:
        specs = _at_budgets(specs, _budgets(budgets))
    texts: set[str] = set()
    for spec in specs:
        if spec.text in texts:
            raise UsageError(f"--methods has {spec.text} twice")
        texts.add(spec.text)
        spec.create()  # raises for an invalid combination
    return specs


def parse_spec(text: str, flag: str = "--method") -> Spec:
    """Parse one method or ablation, such as `dycoke:merge_ratio=0.3,positions=kept`.

    Parameters are checked one by one. Their combination isn't, since other flags may change it.
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
    """Split a list into rows; a parameter is appended to the row before it."""
    rows: list[str] = []
    for piece in text.split(","):
        # Only a parameter has "=", so commas can separate both methods and parameters.
        if rows and _PARAMETER.match(piece.strip()):
            rows[-1] += f":{piece.strip()}"
        else:
            rows.append(piece.strip())
    return rows


def _budgets(text: str) -> list[str]:
    """Split and check the value of `--retain`."""
    retain = parameters_of(Budgeted)["retain"]
    values = [value.strip() for value in text.split(",")]
    for value in values:
        try:
            retain.check(retain.parse(value))
        except UsageError as error:
            raise UsageError(f"--{error}") from error
    return values


def _at_budgets(specs: list[Spec], values: list[str]) -> list[Spec]:
    """Replace each row whose method takes a budget and has none by a row per budget."""
    rows: list[Spec] = []
    for spec in specs:
        if "retain" in parameters_of(METHODS[spec.method]) and "retain" not in spec.given:
            at_each = (_parse(f"{spec.text}:retain={value}") for value in values)
            rows += [replace(row, if_possible=spec.if_possible) for row in at_each]
        else:
            rows.append(spec)
    if rows == specs:
        raise UsageError(
            "--retain is for methods that take a budget: of --methods none does, or each has its "
            f"own; add {owner_near('retain', DEFAULT)}"
        )
    return rows


def _parse(text: str, flag: str = "--methods") -> Spec:
    typed_name, *pairs = (part.strip() for part in text.split(":"))
    # "dycoke_plus" is accepted, since parameters are written with underscores.
    name = typed_name.replace("_", "-")
    if _PARAMETER.match(typed_name):
        method = owner_near(typed_name.partition("=")[0].strip(), DEFAULT) or DEFAULT
        raise UsageError(f"{flag} {text}: name the method first, as in {method}:{text}")
    if name == ALL:
        raise UsageError(f"{flag} {text}: {ALL} takes no parameters; name a method")
    if name not in _NAMES:
        hint = meant(typed_name, _NAMES)
        raise UsageError(f"{flag}: there is no method {typed_name!r}; {hint}")
    named_spec = _NAMES[name]
    parameters = parameters_of(METHODS[named_spec.method])
    given, parts = dict(named_spec.fixed), [name]
    for pair in pairs:
        typed_parameter, equals, value = (part.strip() for part in pair.partition("="))
        parameter = typed_parameter.replace("-", "_")
        if not equals:
            raise UsageError(f"{flag} {text}: write a parameter as name=value, not {pair!r}")
        if parameter not in parameters:
            otherwise = f"`dycoke methods {name}` lists what it has"
            by_symbol = {one.spec.symbol: own for own, one in parameters.items()}
            hint = did_you_mean(by_symbol.get(typed_parameter, parameter), parameters, otherwise)
            raise UsageError(f"{flag} {text}: {name} has no {typed_parameter!r}; {hint}")
        if parameter in given:
            raise UsageError(f"{flag} {text}: {parameter} is already set by {name}, or twice")
        with naming(f"{flag} {text}"):
            given[parameter] = parameters[parameter].parse(value)
            parameters[parameter].check(given[parameter])
        parts.append(f"{parameter}={value}")
    return Spec(":".join(parts), name, named_spec.method, given, named_spec.frames)
