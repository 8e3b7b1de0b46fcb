"""The flags of methods: one for each name of a parameter, made from the fields that tell it.

A flag is None where it wasn't given: a method has its own defaults, and complains about parameters
that it doesn't have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dycoke_cli.compression.param import Parameter
from dycoke_cli.compression.registry import DEFAULT, METHODS, create, owners
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.specs import ABLATIONS, ALL

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.resolve import ResolvedModel

PANEL = "Compression"

_OWNERS = owners()


def flag(parameter: str) -> str:
    """The flag of a parameter, by name."""
    return "--" + parameter.replace("_", "-")


def flags(parameter: Parameter) -> list[str]:
    """All flags of a parameter: an on-off one has two."""
    on = flag(parameter.name)
    return [on, _off(on)] if parameter.kind is bool else [on]


def in_flags(text: str) -> str:
    """A sentence of the library in terms of flags, for people who give flags.

    `merge_ratio` becomes `--merge-ratio` wherever it stands. A name that is a plain word, such as
    `recall`, does so where the sentence begins with it, behind the word "parameter", and in
    `recall=False`, which becomes `--no-recall`.
    """
    return _NAMED.sub(_as_flag, text)


def _as_flag(found: re.Match[str]) -> str:
    if (value := found["value"]) is None:
        return flag(found.group(found.lastindex or 0))
    name = flag(found["set"])
    return {"True": name, "False": _off(name)}.get(value, f"{name} {value}")


def _off(name: str) -> str:
    return name.replace("--", "--no-", 1)


_ANY = "|".join(_OWNERS)
_COMPOUND = "|".join(name for name in _OWNERS if "_" in name)
_NAMED = re.compile(
    rf"\b(?P<set>{_ANY})=(?P<value>\w+)|^({_ANY}|method)\b|\bparameter ({_ANY})\b|\b({_COMPOUND})\b"
)


def options() -> dict[str, Any]:
    """What Typer needs of each flag, by the name of its parameter."""
    return {name: _option(parameters) for name, parameters in _OWNERS.items()}


def _option(parameters: dict[str, Parameter]) -> Any:
    """A flag for the parameters of one name, by method.

    Raises:
        TypeError: one flag can't be all of them.
    """
    first = next(iter(parameters.values()))
    if {p.kind for p in parameters.values()} != {first.kind}:
        raise TypeError(f"the methods {', '.join(parameters)} disagree on what {first.name} is")
    words = dict.fromkeys(word for p in parameters.values() for word in p.told.words)
    choices = dict.fromkeys(choice for p in parameters.values() for choice in p.choices)
    kind: Any = Literal[tuple(choices)] if choices else str if words else first.kind
    metavar = first.told.symbol or ("NAME" if choices else None)
    return Annotated[
        kind | None,
        typer.Option(
            "/".join(flags(first)),
            metavar="|".join(["N", *words]) if words else metavar,
            help=help_text(parameters),
            show_default=False,
            rich_help_panel=PANEL,
        ),
    ]


def help_text(parameters: dict[str, Parameter]) -> str:
    """What a flag does, its range and defaults, for the parameters of one name by method."""
    first = next(iter(parameters.values()))
    sentences = [first.told.help]
    if DEFAULT not in parameters:
        sentences.append(f"For {', '.join(parameters)} only.")
    ranges = {method: p.range for method, p in parameters.items() if p.range is not None}
    if ranges:
        sentences.append(f"Range: {_told(ranges)}.")
    defaults = {method: p.default_in_words for method, p in parameters.items()}
    sentences.append(f"Default: {_told(defaults)}.")
    return in_flags(" ".join(sentences))


def _told(by_method: dict[str, str]) -> str:
    """What the default method has, or else most of them, and the others where theirs differs."""
    texts = [*by_method.values()]
    usual = by_method.get(DEFAULT, max(texts, key=texts.count))
    others: dict[str, list[str]] = {}
    for method, text in by_method.items():
        if text != usual:
            others.setdefault(text, []).append(method)
    return "; ".join([usual, *(f"{', '.join(names)}: {text}" for text, names in others.items())])


MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help="; ".join(f"{name} ({method.summary})" for name, method in METHODS.items())
        + ". `dycoke methods` tells more.",
        rich_help_panel=PANEL,
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        metavar="NAME[:PARAMETER=VALUE…],…",
        help=f"The rows of the table: {', '.join(METHODS)}; "
        + ", ".join(f"{name} ({row.summary})" for name, row in ABLATIONS.items())
        + f"; {ALL} (every method). As in none,dycoke:merge_ratio=0.5; `dycoke methods` has the "
        "parameters.",
        rich_help_panel=PANEL,
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--retain",
        metavar="R,…",
        help="Fractions of the visual tokens kept before the language model: a row at each for "
        "each method that takes a budget. Default: its own.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class MethodChoice:
    """A method and the parameters that were given for it; the rest keep their defaults.

    Args:
        name: of the method.
        given: parameters by name.

    Raises:
        UsageError: no such method, a parameter that it doesn't have, one out of range, or a
            combination without meaning.
    """

    name: str
    given: dict[str, Any]

    def __post_init__(self) -> None:
        self._create()

    def for_model(self, model: ResolvedModel | LoadedModel) -> Method:
        """The method for a model: what wasn't given is what suits the model.

        Raises:
            UsageError: the model hasn't got that layer.
        """
        method = self._create()
        with _speaking_of_flags():
            return method.suited(model.method_defaults, model.layers, model.name)

    def _create(self) -> Method:
        with _speaking_of_flags():
            return create(self.name, **self.given)


def choice_of(name: str, flags: dict[str, Any]) -> MethodChoice:
    """What the flags choose.

    Args:
        name: of the method.
        flags: by parameter; None for each that wasn't given.

    Raises:
        UsageError: see `MethodChoice`; or a value that isn't of the parameter's kind.
    """
    given = {parameter: value for parameter, value in flags.items() if value is not None}
    with _speaking_of_flags():
        for parameter, value in given.items():
            told = next(iter(_OWNERS[parameter].values()))
            if told.told.words:
                given[parameter] = told.parse(value)
    return MethodChoice(name, given)


@contextmanager
def _speaking_of_flags() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(in_flags(str(error))) from error
