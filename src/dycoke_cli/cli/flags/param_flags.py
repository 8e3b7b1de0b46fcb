"""Flags of dataclasses: of their parameters, and spread over the signature of a command.

A flag that isn't set is None; the default is that of the dataclass field.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial, wraps
from typing import Annotated, Any, Literal, get_args

import typer

from dycoke_cli.compression.pool import TokenBudget
from dycoke_cli.compression.registry import DEFAULT, owners
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError, naming
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.param import Parameter, parameters_of
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling


def flag(name: str) -> str:
    """Flag of a parameter, by the parameter's name."""
    return "--" + _SHORT.get(name, name).replace("_", "-")


def flags(parameter: Parameter) -> list[str]:
    """All flags that a parameter would have; a boolean has `--x` and `--no-x`.

    A shared boolean that is off by default has only `--x`. A method's boolean always has both,
    since methods may differ in its default.
    """
    on = flag(parameter.name)
    only_on = parameter.name in _SHARED and parameter.default is False
    return [on, _off(on)] if parameter.kind is bool and not only_on else [on]


_SHARED = {
    name: parameter
    for group in (Sampling, TokenBudget, Limits, LoadOptions, GenerationOptions)
    for name, parameter in parameters_of(group).items()
}
_SHORT = {name: p.spec.flag for name, p in _SHARED.items() if p.spec.flag is not None}


def in_flags(text: str) -> str:
    """Replace parameter names in a message of the library by their flags.

    `merge_ratio` becomes `--merge-ratio` everywhere. A name that is an English word, such as
    `recall`, is replaced only at the start of the sentence, after the word "parameter", and in
    `recall=False`, which becomes `--no-recall`.
    """
    return _NAMED.sub(_as_flag, text)


def _as_flag(match: re.Match[str]) -> str:
    if (value := match["value"]) is None:
        return flag(match.group(match.lastindex or 0))
    name = flag(match["set"])
    return {"True": name, "False": _off(name)}.get(value, f"{name} {value}")


def _off(name: str) -> str:
    return name.replace("--", "--no-", 1)


FLAGGED = {
    name: of_methods
    for name, of_methods in owners().items()
    if DEFAULT in of_methods or name == "retain"
}
"""Parameters of methods that have flags, by name and method; `--method NAME:P=X` sets the others.

They are those of the default method, and the budget that most methods share.
"""

_hints: Callable[[Any], dict[str, Any]] = cache(partial(typing.get_type_hints, include_extras=True))
_NAMES = [*FLAGGED, *_SHARED]
_ANY = "|".join(_NAMES)
_COMPOUND = "|".join(name for name in _NAMES if "_" in name)
_NAMED = re.compile(
    rf"\b(?P<set>{_ANY})=(?P<value>\w+)|^({_ANY}|method)\b|\bparameter ({_ANY})\b|\b({_COMPOUND})\b"
)


@contextmanager
def speaking_of_flags() -> Iterator[None]:
    """Rewrite usage errors of the block in terms of flags."""
    try:
        yield
    except UsageError as error:
        raise UsageError(in_flags(str(error))) from error


_METAVARS: dict[type, str | None] = {bool: None, int: "N", float: "X", str: "TEXT"}


def option(parameters: Mapping[str, Parameter], panel: str | None) -> Any:
    """Typer annotation of a flag.

    Args:
        panel: panel of the help page; None for the most common options.
    """
    first = next(iter(parameters.values()))
    if {p.kind for p in parameters.values()} != {first.kind}:
        raise TypeError(f"the methods {', '.join(parameters)} disagree on what {first.name} is")
    choices = dict.fromkeys(choice for p in parameters.values() for choice in p.choices)
    # Numbers are strings for Typer: our message for an invalid one is better.
    kind: Any = bool if first.kind is bool else str
    if choices:
        kind = Literal[tuple(choices)]
    metavar = first.spec.metavar or first.spec.symbol
    metavar = metavar or ("NAME" if choices else _METAVARS[first.kind])
    return Annotated[
        kind | None,
        typer.Option(
            "/".join(flags(first)),
            *filter(None, [first.spec.also]),
            metavar=metavar,
            help=help_text(parameters),
            show_default=False,
            rich_help_panel=panel,
        ),
    ]


def help_text(parameters: Mapping[str, Parameter]) -> str:
    """Help text of a flag with range and defaults, for the parameters of one name by method."""
    first = next(iter(parameters.values()))
    sentences = [first.spec.help]
    if first.spec.also is not None:
        sentences.append(f"{first.spec.also} is the same.")
    ranges = {method: p.range for method, p in parameters.items() if p.range is not None}
    if ranges:
        sentences.append(f"Range: {_by_method_in_words(ranges)}.")
    defaults = {method: p.default_in_words for method, p in parameters.items()}
    if any(defaults.values()):
        sentences.append(f"Default: {_by_method_in_words(defaults)}.")
    return in_flags(" ".join(sentences))


def value_of(parameter: Parameter, given: Any) -> Any:
    """Parse a flag's value: a text, or a boolean."""
    if parameter.spec.read is not None:
        with naming(flag(parameter.name)):
            return parameter.spec.read(given)
    return parameter.parse(given) if isinstance(given, str) else given


def _by_method_in_words(by_method: Mapping[str, str]) -> str:
    """Text of the default method (otherwise the most frequent one), then the deviating methods."""
    texts = [*by_method.values()]
    # Texts are grouped, so that the help doesn't repeat a default that most methods share.
    usual = by_method.get(DEFAULT, max(texts, key=texts.count))
    others: dict[str, list[str]] = {}
    for method, text in by_method.items():
        if text != usual:
            others.setdefault(text, []).append(method)
    return "; ".join([usual, *(f"{', '.join(names)}: {text}" for text, names in others.items())])


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
    """Replace each dataclass parameter of a command by one parameter per field, nested or not."""
    hints = typing.get_type_hints(command, include_extras=True)
    arguments = inspect.signature(command).parameters
    parameters: dict[str, inspect.Parameter] = {}
    for name, argument in arguments.items():
        for one in _spelled(name, hints[name], argument.default):
            if one.name in parameters:
                raise TypeError(f"two parameters of {command.__name__} are {one.name}")
            parameters[one.name] = one

    @wraps(command)
    def spread_out(**given: Any) -> None:
        command(**{name: _taken(name, hints[name], given) for name in arguments})

    # Typer reads the signature and the annotations, not the function's code.
    returns = hints.get("return", inspect.Signature.empty)
    spread_out.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*parameters.values()], return_annotation=returns
    )
    spread_out.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return spread_out


def _mark(kind: Any) -> FromParams | dict[str, Any] | None:
    """How a type becomes parameters: of a dict, by a Typer annotation for each name of it."""
    marks = getattr(kind, "__metadata__", ())
    return next((mark for mark in marks if isinstance(mark, FromParams | dict)), None)


def _spelled(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    """The parameter of a type, or those of its fields."""
    if isinstance(mark := _mark(kind), FromParams):
        for field, definition in mark.parameters(get_args(kind)[0]).items():
            panel = None if field in mark.common else mark.panel
            yield _parameter(field, option({"": definition}, panel), None)
    elif isinstance(mark, dict):
        for each, annotation in mark.items():
            yield _parameter(each, annotation, None)
    elif dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        for one in dataclasses.fields(kind):
            missing = one.default is dataclasses.MISSING
            given = inspect.Parameter.empty if missing else one.default
            yield from _spelled(one.name, hints[one.name], given)
    else:
        yield _parameter(name, kind, default)


def _taken(name: str, kind: Any, given: dict[str, Any]) -> Any:
    """The value of a type, of its parameters; removes them from `given`."""
    if isinstance(mark := _mark(kind), FromParams):
        return mark.made(get_args(kind)[0], given)
    if isinstance(mark, dict):
        return {each: given.pop(each) for each in mark}
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return given.pop(name)
    hints = _hints(kind)
    fields = dataclasses.fields(kind)
    return kind(**{one.name: _taken(one.name, hints[one.name], given) for one in fields})


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
