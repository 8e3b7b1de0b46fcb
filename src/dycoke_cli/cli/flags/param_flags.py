"""The flags of parameters: their names, their help and their errors, read off the fields.

A flag is None where it wasn't given: the dataclass that has the field has its default as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer

from dycoke_cli.compression.registry import DEFAULT, owners
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.param import Parameter, parameters_of
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling


def flag(name: str) -> str:
    """The flag of a parameter, by name."""
    return "--" + _SHORT.get(name, name).replace("_", "-")


def flags(parameter: Parameter) -> list[str]:
    """All flags of a parameter: an on-off one has two, unless it is off by default for good."""
    on = flag(parameter.name)
    for_good = parameter.name in _SHARED and parameter.default is False
    return [on, _off(on)] if parameter.kind is bool and not for_good else [on]


_SHARED = {
    name: parameter
    for group in (Sampling, Limits, LoadOptions, GenerationOptions)
    for name, parameter in parameters_of(group).items()
}
_SHORT = {name: p.spec.flag for name, p in _SHARED.items() if p.spec.flag is not None}


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


_NAMES = [*owners(), *_SHARED]
_ANY = "|".join(_NAMES)
_COMPOUND = "|".join(name for name in _NAMES if "_" in name)
_NAMED = re.compile(
    rf"\b(?P<set>{_ANY})=(?P<value>\w+)|^({_ANY}|method)\b|\bparameter ({_ANY})\b|\b({_COMPOUND})\b"
)


@contextmanager
def speaking_of_flags() -> Iterator[None]:
    """Errors of the library within the block speak of flags."""
    try:
        yield
    except UsageError as error:
        raise UsageError(in_flags(str(error))) from error


_METAVARS: dict[type, str | None] = {bool: None, int: "N", float: "X", str: "TEXT"}


def option(parameters: Mapping[str, Parameter], panel: str | None) -> Any:
    """What Typer needs of one flag.

    Args:
        parameters: those of one name, by what they belong to: a method, or "" for all commands.
        panel: of the help page; None where it is one that most people need.

    Raises:
        TypeError: one flag can't be all of them.
    """
    first = next(iter(parameters.values()))
    if {p.kind for p in parameters.values()} != {first.kind}:
        raise TypeError(f"the methods {', '.join(parameters)} disagree on what {first.name} is")
    words = dict.fromkeys(word for p in parameters.values() for word in p.spec.words)
    choices = dict.fromkeys(choice for p in parameters.values() for choice in p.choices)
    # A number is a text to Typer, for it may be a share in per cent or a word, and our own sentence
    # says what isn't one.
    kind: Any = bool if first.kind is bool else str
    if choices:
        kind = Literal[tuple(choices)]
    metavar = first.spec.metavar or first.spec.symbol
    metavar = metavar or ("NAME" if choices else _METAVARS[first.kind])
    return Annotated[
        kind | None,
        typer.Option(
            "/".join(flags(first)),
            metavar="|".join(["N", *words]) if words else metavar,
            help=help_text(parameters),
            show_default=False,
            rich_help_panel=panel,
        ),
    ]


def help_text(parameters: Mapping[str, Parameter]) -> str:
    """What a flag does, its range and defaults, for the parameters of one name by method."""
    first = next(iter(parameters.values()))
    sentences = [first.spec.help]
    if DEFAULT not in parameters and "" not in parameters:
        sentences.append(f"For {', '.join(parameters)} only.")
    ranges = {method: p.range for method, p in parameters.items() if p.range is not None}
    if ranges:
        sentences.append(f"Range: {_told(ranges)}.")
    defaults = {method: p.default_in_words for method, p in parameters.items()}
    if any(defaults.values()):
        sentences.append(f"Default: {_told(defaults)}.")
    return in_flags(" ".join(sentences))


def value_of(parameter: Parameter, given: Any) -> Any:
    """What was given for a parameter: a text, or on or off.

    Raises:
        UsageError: it isn't of the parameter's kind.
    """
    if parameter.spec.read is not None:
        return parameter.spec.read(given)
    return parameter.parse(given) if isinstance(given, str) else given


def _told(by_method: Mapping[str, str]) -> str:
    """What the default method has, or else most of them, and the others where theirs differs."""
    texts = [*by_method.values()]
    usual = by_method.get(DEFAULT, max(texts, key=texts.count))
    others: dict[str, list[str]] = {}
    for method, text in by_method.items():
        if text != usual:
            others.setdefault(text, []).append(method)
    return "; ".join([usual, *(f"{', '.join(names)}: {text}" for text, names in others.items())])
