"""Decorator that expands dataclasses of options in a command's signature into Typer flags."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, get_args

from dycoke_cli.cli.flags.param_flags import flag, option, speaking_of_flags, value_of
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Parameter, parameters_of


@dataclasses.dataclass(frozen=True)
class Each:
    """Marker of a dict field with a parameter per name, such as those of methods."""

    options: Mapping[str, Any]  # Typer annotations by name; a flag that isn't set is None


@dataclasses.dataclass(frozen=True)
class FromParams:
    """Marker of a library dataclass as a parameter: its fields with a `Param` become flags.

    If a flag isn't set, the field keeps its default.
    """

    panel: str  # panel of the help page
    exclusive: tuple[str, ...] = ()  # names of mutually exclusive flags
    without: tuple[str, ...] = ()  # names that the command doesn't have
    common: tuple[str, ...] = ()  # names of common options, listed before the panels

    def parameters(self, group: Any) -> dict[str, Parameter]:
        """Parameters that become flags, by name."""
        return {n: p for n, p in parameters_of(group).items() if n not in self.without}

    def made(self, group: Any, given: dict[str, Any]) -> Any:
        """Build the dataclass; removes its values from `given`."""
        parameters = self.parameters(group)
        values = {name: given.pop(name) for name in parameters}
        values = {name: value for name, value in values.items() if value is not None}
        both = [flag(name) for name in self.exclusive if name in values]
        if len(both) > 1:
            raise UsageError(f"{' and '.join(both)} exclude each other; use one of them")
        with speaking_of_flags():
            return group(**{name: value_of(parameters[name], v) for name, v in values.items()})


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each dataclass parameter of a command by one parameter per field."""
    hints = typing.get_type_hints(command, include_extras=True)
    parameters: dict[str, inspect.Parameter] = {}
    spelled: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        mark = next((m for m in getattr(kind, "__metadata__", ()) if type(m) is FromParams), None)
        if mark is not None:
            group = get_args(kind)[0]
            groups[name] = group, mark
            for field, definition in mark.parameters(group).items():
                panel = None if field in mark.common else mark.panel
                spelled.append(_parameter(field, option({"": definition}, panel), None))
        elif dataclasses.is_dataclass(kind):
            groups[name] = kind, None
            spelled += _parameters(kind)
        else:
            spelled.append(parameter.replace(annotation=kind))
    for one in spelled:
        if one.name in parameters:
            raise TypeError(f"two parameters of {command.__name__} are {one.name}")
        parameters[one.name] = one

    @wraps(command)
    def spread_out(**given: Any) -> None:
        for name, (group, mark) in groups.items():
            if mark is None:
                fields = _fields(group)
                given[name] = group(**{f: _taken(f, each, given) for f, each in fields})
            else:
                given[name] = mark.made(group, given)
        command(**given)

    # Typer reads the signature and the annotations, not the function's code.
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters.values()]
    returns = hints.get("return", inspect.Signature.empty)
    spread_out.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        keyword_only, return_annotation=returns
    )
    spread_out.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    return spread_out


def _fields(group: Any) -> Iterator[tuple[str, Each | None]]:
    """Fields of a group, with the marker of dict fields."""
    hints = typing.get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        marks = getattr(hints[field.name], "__metadata__", ())
        yield field.name, next((mark for mark in marks if isinstance(mark, Each)), None)


def _taken(field: str, each: Each | None, given: dict[str, Any]) -> Any:
    """Remove the value of a field from `given`, and return it."""
    return given.pop(field) if each is None else {name: given.pop(name) for name in each.options}


def _parameters(group: Any) -> Iterator[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    several = dict(_fields(group))
    for field in dataclasses.fields(group):
        if each := several[field.name]:
            for name, annotation in each.options.items():
                yield _parameter(name, annotation, None)
            continue
        missing = field.default is dataclasses.MISSING
        default = inspect.Parameter.empty if missing else field.default
        yield _parameter(field.name, hints[field.name], default)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
