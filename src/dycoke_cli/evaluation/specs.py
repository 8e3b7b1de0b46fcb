"""What `--methods` says: names with parameters, as in `none,dycoke:merge_ratio=0.3,no-video`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.resolve import ChosenModel


@dataclass(frozen=True)
class Named:
    """A row that a table of the paper has: a method, and what makes it that row.

    Args:
        method: in the registry of methods.
        fixed: parameters that belong to the name.
        frames: how many the model sees whatever `--frames` says: 0 is no video at all.
    """

    method: str
    fixed: dict[str, Any] = field(default_factory=dict)
    frames: int | None = None


ABLATIONS: dict[str, Named] = {
    "ttm": Named("dycoke", {"kv_prune": False}),
    "kv": Named("dycoke", {"ttm": False}),
    "dycoke-once": Named("dycoke", {"recall": False}),
    "no-video": Named("none", frames=0),
    "one-frame": Named("none", frames=1),
}
"""Stage 1 alone, stage 2 alone, without recall; and the uncompressed model with less to see."""

_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Spec:
    """One row of the table, before the model is known.

    Args:
        text: as it was given.
        name: of a method, or in `ABLATIONS`.
        method: in the registry of methods.
        given: parameters, those that belong to the name included.
        frames: see `Named`.
    """

    text: str
    name: str
    method: str
    given: dict[str, Any]
    frames: int | None = None

    def for_model(self, model: ChosenModel) -> Method:
        """The method, with a model's own defaults for what wasn't given.

        Raises:
            UsageError: see `create`; or the model has no such layer.
        """
        method = self.create().suited(model.method_defaults)
        layer = method.parameters().get("prune_layer", 0)
        if layer >= model.layers:
            raise UsageError(
                f"--methods {self.text}: prune_layer must be from 1 to {model.layers - 1} for "
                f"{model.source.name}, which has {model.layers} layers, not {layer}"
            )
        return method

    def create(self) -> Method:
        """The method; what wasn't given and depends on the model is still open.

        Raises:
            UsageError: a parameter out of range, or a combination without meaning.
        """
        from dycoke_cli.compression.registry import create

        try:
            return create(self.method, **self.given)
        except UsageError as error:
            raise UsageError(f"--methods {self.text}: {error}") from error


def parse_specs(text: str) -> list[Spec]:
    """Read a list such as `none,dycoke:merge_ratio=0.3:positions=kept`.

    Raises:
        UsageError: a name or parameter that isn't there, a value that doesn't fit, the same twice.
    """
    specs = [_parse(part.strip()) for part in text.split(",")]
    seen: set[str] = set()
    for spec in specs:
        if spec.text in seen:
            raise UsageError(f"--methods has {spec.text} twice")
        seen.add(spec.text)
        spec.create()
    return specs


def _parse(text: str) -> Spec:
    from dycoke_cli.compression.registry import METHODS

    names = {**{method: Named(method) for method in METHODS}, **ABLATIONS}
    name, *pairs = text.split(":")
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--methods: there is no {name!r} (there are {', '.join(names)}){hint}")
    named = names[name]
    types = _parameter_types(named.method)
    given = dict(named.fixed)
    for pair in pairs:
        parameter, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--methods {text}: write a parameter as name=value, not {pair!r}")
        if parameter not in types:
            known = ", ".join(types) or "none"
            raise UsageError(f"--methods {text}: {name} has no {parameter!r} (it has {known})")
        if parameter in given:
            raise UsageError(f"--methods {text}: {parameter} is already set by {name}, or twice")
        given[parameter] = _value(text, parameter, types[parameter], value)
    return Spec(text, name, named.method, given, named.frames)


def _parameter_types(method: str) -> dict[str, type]:
    from dycoke_cli.compression.registry import METHODS

    hints = get_type_hints(METHODS[method])
    # `int | None` is read as int: None is for what isn't given.
    return {
        parameter: next(kind for kind in (*get_args(hints[parameter]), hints[parameter]) if kind)
        for parameter in METHODS[method]().parameters()
    }


def _value(text: str, parameter: str, kind: type, value: str) -> Any:
    try:
        return _TRUTH[value] if kind is bool else kind(value)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"--methods {text}: {parameter} must be {wanted}, not {value!r}") from None
