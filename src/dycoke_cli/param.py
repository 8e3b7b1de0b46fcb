"""Parameters declared once, as annotated fields of a dataclass.

    retain: Annotated[float, Param("Fraction of tokens kept.", symbol="R", above=0, to=1)] = 0.25

The range check, the command-line flag and the help text are derived from the field. A method's
parameter also defines `eval --methods name:retain=0.5`, its entry in the JSON Schema, the panel's
title and `dycoke methods`. Field types are `bool`, `int`, `float`, `str` and `Literal` of words;
`| None` where the default depends on the model or on other parameters.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, wraps
from inspect import signature
from types import NoneType
from typing import Any, Final, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from dycoke_cli.errors import UsageError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

_KINDS: dict[type, tuple[Any, str, str]] = {
    bool: (bool, "boolean", "true or false"),
    int: (numbers.Integral, "integer", "a whole number"),
    float: (numbers.Real, "number", "a number"),
    str: (str, "string", "a text"),
}
"""By type: the accepted class (numpy numbers included), the JSON type, the noun in an error."""

_BOUNDS: dict[str, tuple[str, str, Callable[[Any, Any], bool]]] = {
    "at_least": ("at least", "minimum", operator.ge),
    "above": ("above", "exclusiveMinimum", operator.gt),
    "to": ("at most", "maximum", operator.le),
    "below": ("below", "exclusiveMaximum", operator.lt),
}
"""By field of `Param`: words, the key in a JSON Schema, what holds of a value and the bound."""

_SHOWN = 60  # characters of a text
# 70%, 1/2, 0,7 and 30fps; three digits behind a comma may be thousands.
_NUMBERS = re.compile(
    r"(\d+(?:\.\d+|,(?!\d{3}(?!\d))\d+)?)\s*(?:(%)|/\s*([1-9]\d*)|[a-z]{2,})?", re.IGNORECASE
)
_BOOLEANS = {"true": True, "false": False}

# Not None, which is the value `before` of some parameters.
_NO_EARLIER_VALUE: Final = object()


@dataclass(frozen=True)
class Param:
    """Definition of a parameter, in addition to the type and default of its field.

    Args:
        help: sentences that end with a full stop; range and default are added to them.
        symbol: its letter in the paper, shown in titles.
        at_least: inclusive lower bound.
        above: exclusive lower bound.
        to: inclusive upper bound.
        below: exclusive upper bound.
        layer: the value is a layer index of the language model (0-based; 1 or more unless
            `at_least` is set), checked against the number of layers.
        of_depth: the default of a layer parameter that is None: this share of the layers that the
            language model has.
        default: the default in words, where the value isn't enough; "" omits it.
        switch: another parameter of the same method; while it is off or None, this one has no
            effect.
        flag: the flag, if it differs from the field's name: "start" for `start_s`.
        also: another spelling of the flag, which other programs have.
        metavar: placeholder of the value in the help.
        read: parser of the command line's text, for a type with its own notation.
        before: the value that answers had before this parameter was added. It doesn't change with
            the default. Unset for a parameter of the first version.
        budget: the value sets the number of retained tokens; lists of methods show the first such
            parameter.
    """

    help: str
    symbol: str | None = None
    at_least: float | None = None
    above: float | None = None
    to: float | None = None
    below: float | None = None
    layer: bool = False
    of_depth: float | None = None
    default: str | None = None
    switch: str | None = None
    flag: str | None = None
    also: str | None = None
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    before: Any = _NO_EARLIER_VALUE
    budget: bool = False

    @property
    def bounds(self) -> dict[str, float]:
        """Bounds of the value that are set, by their names here."""
        given = {"at_least": 1} if self.layer else {}
        set_here = {name: bound for name, bound in vars(self).items() if bound is not None}
        return {name: bound for name, bound in (given | set_here).items() if name in _BOUNDS}


@dataclass(frozen=True)
class Parameter:
    """Parameter of a dataclass: name, type and default of the field, and its `Param`."""

    name: str  # of the field
    kind: type  # bool, int, float, or str for a choice of words
    choices: tuple[str, ...]  # the words of a `Literal`, otherwise ()
    optional: bool  # None is allowed: the default depends on the model or on other parameters
    default: Any  # of the field
    spec: Param  # the `Param` of the field

    @property
    def range(self) -> str | None:
        """Allowed range for a help text, such as "2 or more"; None if unbounded."""
        if self.spec.layer:
            return f"{self.spec.bounds['at_least']:g} to the model's layers - 1"
        words = self._range_in_words()
        return None if words == "finite" else words

    @property
    def default_in_words(self) -> str:
        """Default value for a help text; "on" or "off" for a boolean."""
        if self.spec.default is not None:
            return self.spec.default
        if self.kind is bool:
            return "on" if self.default else "off"
        return str(self.default)

    def check(self, value: Any) -> None:
        """Check type and range of a value; NaN and infinity are out of range."""
        if value is None and self.optional:
            return
        if self.choices:
            if value not in self.choices:
                raise UsageError(
                    f"{self.name} must be {_joined_by_or(self.choices)}, not {_shown(value)}"
                )
            return
        accepted, _, noun = _KINDS[self.kind]
        # In Python, True is the number 1.
        if not isinstance(value, accepted) or isinstance(value, bool) is not (self.kind is bool):
            raise UsageError(f"{self.name} must be {noun}, not {_shown(value)}")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise UsageError(f"{self.name} has too many digits")
        if self.kind is not str and not self._in_range(value):
            # 25 for 0.25 is the common mistake; 1.5 is more likely a typing error than 1.5 %.
            is_share = self.kind is float and 1 in (self.spec.to, self.spec.below)
            percent = is_share and value >= 2 and self._in_range(value / 100)
            hint = f": did you mean {value / 100:g}?" if percent else ""
            given = f"{value:g}" if isinstance(value, float) else _shown(value)
            raise UsageError(f"{self.name} must be {self._range_in_words()}, not {given}{hint}")

    def parse(self, text: str) -> Any:
        """Parse a text; doesn't check the range."""
        try:
            return _BOOLEANS[text] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            sentence = f"{self.name} must be {_KINDS[self.kind][2]}, not {_shown(text)}"
            number = _number_meant(text)
            if number is not None and self.kind in (int, float) and number == self.kind(number):
                sentence += f": write {number:g}" if self._in_range(number) else ""
            raise UsageError(sentence) from None

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the value in an answer; null where a server settles its default."""
        if self.choices:
            return {"enum": [*self.choices, *([None] if self.optional else [])]}
        bounds = {_BOUNDS[name][1]: bound for name, bound in self.spec.bounds.items()}
        kind = _KINDS[self.kind][1]
        return {"type": [kind, "null"] if self.optional else kind, **bounds}

    def _in_range(self, value: float) -> bool:
        bounds = self.spec.bounds.items()
        return math.isfinite(value) and all(_BOUNDS[name][2](value, one) for name, one in bounds)

    def _range_in_words(self) -> str:
        bounds = self.spec.bounds
        if "at_least" in bounds and not {"to", "below"} & {*bounds}:
            return f"{bounds['at_least']:g} or more"
        return (
            " and ".join(f"{_BOUNDS[name][0]} {one:g}" for name, one in bounds.items()) or "finite"
        )


class Options:
    """Base of a dataclass whose unknown keywords are errors that say what is meant."""

    def __new__(cls, *args: Any, **given: Any) -> Self:
        """Make the object, once the keywords are checked."""
        _check_keywords(cls.__name__, given, [each.name for each in fields(cls)], cls)  # type: ignore[arg-type]
        return super().__new__(cls)


def checks_keywords(function: F) -> F:
    """Have a function refuse unknown keywords as `Options` does."""
    known = [name for name in signature(function).parameters if name != "self"]

    @wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        _check_keywords(f"{function.__name__}()", given, known)
        return function(*args, **given)

    return checked  # type: ignore[return-value]


def _check_keywords(
    what: str, given: Iterable[str], known: Sequence[str], kind: type | None = None
) -> None:
    for name in given:
        if name not in known:
            meant = name if kind is None else meant_by(name, kind)
            hint = did_you_mean(meant, known, f"it takes {', '.join(known) or 'no parameters'}")
            raise TypeError(f"{what} has no {name!r}; {hint}")


def meant_by(name: str, kind: type) -> str:
    """The parameter of which a name is the paper's symbol or another spelling; or the name."""
    for own, parameter in parameters_of(kind).items():
        also = (parameter.spec.also or "").lstrip("-").replace("-", "_")
        if name and name.casefold() in ((parameter.spec.symbol or "").casefold(), also):
            return own
    return name


def check_all(options: Any) -> None:
    """Check every parameter of a dataclass instance."""
    for name, parameter in parameters_of(type(options)).items():
        parameter.check(getattr(options, name))


def key_part(options: Any) -> dict[str, Any]:
    """Fields of a dataclass that go into the key of an answer: name and value.

    Defaults are included, so a changed default gives a new key. A field that was added later is
    omitted where it has the value `before` (of its `Param`, or of the field's metadata): keys
    written before the field existed then stay valid.
    """
    parameters = parameters_of(type(options))
    before = {each.name: each.metadata.get("before", _NO_EARLIER_VALUE) for each in fields(options)}
    before |= {name: parameter.spec.before for name, parameter in parameters.items()}
    return {name: value for name, value in asdict(options).items() if value != before[name]}


def parameters_of(kind: type) -> dict[str, Parameter]:
    """Parameters of a dataclass by name, in the order of its fields."""
    return _parameters_of(kind)  # mypy takes no class of classes as hashable


@cache
def _parameters_of(kind: type) -> dict[str, Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    parameters = {}
    for each in fields(kind):
        annotation = hints[each.name]
        spec = next((x for x in getattr(annotation, "__metadata__", ()) if type(x) is Param), None)
        if spec is not None:
            kind_of_value = get_args(annotation)[0]
            parameters[each.name] = _parameter(each.name, kind_of_value, each.default, spec)
    return parameters


def _parameter(name: str, annotation: Any, default: Any, spec: Param) -> Parameter:
    # `int | None` is `int` and optional; a Literal is a choice of words.
    members = (annotation,) if get_origin(annotation) in (None, Literal) else get_args(annotation)
    optional = NoneType in members
    (kind,) = (member for member in members if member is not NoneType)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    kind = str if choices else kind
    if not choices and kind not in _KINDS:
        raise TypeError(f"{name}: a parameter can't be of the type {annotation}")
    if default is None and spec.default is None:
        raise TypeError(f"{name}: a default of None needs `default` in its Param")
    return Parameter(name, kind, choices, optional, default, spec)


def _shown(value: Any) -> str:
    """A value that was given, as an error shows it: a request may have a text of megabytes."""
    return reprlib.repr(value) if not isinstance(value, str) else repr(value[:_SHOWN])


def _number_meant(text: str) -> float | None:
    """The number that a text must mean that isn't one, such as 0.7 of "70%"; None if unclear."""
    if (found := _NUMBERS.fullmatch(text.strip()[:_SHOWN])) is None:
        return None
    return float(found[1].replace(",", ".")) / (100 if found[2] else int(found[3] or 1))


def _joined_by_or(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
