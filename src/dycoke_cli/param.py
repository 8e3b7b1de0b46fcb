"""A parameter, defined once: by a field of its dataclass.

    retain: Annotated[float, Param("Fraction of tokens kept.", symbol="R", above=0, to=1)] = 0.25

Its range check, its flag and its help are read off the field; of a method's parameter also
`eval --methods name:retain=0.5`, its entry in the JSON Schema, the title of the panel and `dycoke
methods`. Fields are `bool`, `int`, `float`, `str` or a `Literal` of words; `| None` where the
default depends on the model or on others.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from dycoke_cli.errors import UsageError

_KINDS: dict[type, tuple[Any, str, str]] = {
    bool: (bool, "boolean", "true or false"),
    int: (numbers.Integral, "integer", "a whole number"),
    float: (numbers.Real, "number", "a number"),
    str: (str, "string", "a text"),
}
"""For each kind: what a value must be an instance of, its JSON type, and its name in a sentence."""

_TRUTH = {"true": True, "false": False}

_ALWAYS_THERE: Final = object()


@dataclass(frozen=True)
class Param:
    """The definition of a parameter, beside the type and default of its field.

    Args:
        help: sentences that end with a full stop; range and default are added to them.
        symbol: its letter in the paper, shown in titles.
        at_least: lowest value.
        above: all values are greater than this.
        to: highest value.
        below: all values are less than this.
        layer: it is a layer of the language model (0-based, 1 or more unless at_least says
            otherwise), which the model must have.
        words: words accepted in place of a number, and the numbers that they mean.
        default: the default in words, where the value isn't enough; "" omits it.
        switch: the parameter of the same method without which (off, or None) this one has no
            effect.
        flag: its flag where that isn't its name: "start" for `start_s`.
        metavar: the placeholder of a value in the help.
        read: the value that a text on the command line means, where it has a form of its own.
        nullable: None stays None: the parameter isn't used then, and is null in an answer.
        before: of a parameter that was added once there were answers: the value under which they
            were given. It stays when the default changes; a parameter that was there from the
            beginning has none.
        budget: it says how many tokens are left; lists of methods have the first of them.
    """

    help: str
    symbol: str | None = None
    at_least: float | None = None
    above: float | None = None
    to: float | None = None
    below: float | None = None
    layer: bool = False
    words: Mapping[str, int] = field(default_factory=dict)
    default: str | None = None
    switch: str | None = None
    flag: str | None = None
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    nullable: bool = False
    before: Any = _ALWAYS_THERE
    budget: bool = False

    @property
    def least_layer(self) -> int:
        """The lowest value of a parameter that is a layer."""
        return 1 if self.at_least is None else int(self.at_least)


@dataclass(frozen=True)
class Parameter:
    """A parameter, as its field defines it.

    Args:
        name: of the field.
        kind: bool, int, float, or str for a choice of words.
        choices: the words, or () for the other kinds.
        optional: None is allowed: the default depends on the model or on other parameters.
        default: of the field.
        told: its definition.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    default: Any
    told: Param

    @property
    def range(self) -> str | None:
        """What is allowed, for a help text: "0 ≤ K < 1", "2 or more"; None without limits."""
        told = self.told
        if told.layer:
            return f"{told.least_layer} to the model's layers - 1"
        low, high = _first(told.at_least, told.above), _first(told.to, told.below)
        if low is None and high is None:
            return None
        if low is None or high is None or told.symbol is None:
            return self._limits()
        signs = ["<" if limit is None else "≤" for limit in (told.at_least, told.to)]
        return f"{low:g} {signs[0]} {told.symbol} {signs[1]} {high:g}"

    @property
    def default_in_words(self) -> str:
        """The default for a help text; an on-off parameter is "on" or "off"."""
        if self.told.default is not None:
            return self.told.default
        if self.kind is bool:
            return "on" if self.default else "off"
        return str(self.default)

    @property
    def is_share(self) -> bool:
        """Whether it is a number from 0 to 1, which a text may give in per cent."""
        low = _first(self.told.at_least, self.told.above)
        high = _first(self.told.to, self.told.below)
        return self.kind is float and low is not None and low >= 0 and high == 1

    def check(self, value: Any) -> None:
        """Refuse a value that the parameter can't have, NaN and infinity included.

        Raises:
            UsageError: (a ValueError) the sentence says what is allowed, and what was given.
        """
        if value is None and self.optional:
            return
        if self.choices:
            if value not in self.choices:
                raise UsageError(f"{self.name} must be {_either(self.choices)}, not {value!r}")
            return
        allowed, _, named = _KINDS[self.kind]
        if not isinstance(value, allowed):
            raise UsageError(f"{self.name} must be {named}, not {value!r}")
        if self.kind is not str and not self._within(value):
            percent = self.is_share and value >= 2 and self._within(value / 100)
            hint = f": did you mean {value / 100:g}?" if percent else ""
            raise UsageError(f"{self.name} must be {self._limits()}, not {value:g}{hint}")

    def parse(self, text: str) -> Any:
        """The value that a text means (70% of a share is 0.7); its range is for `check`.

        Raises:
            UsageError: (a ValueError) it isn't of the parameter's kind.
        """
        if text in self.told.words:
            return self.told.words[text]
        given = text
        if self.is_share and text.endswith("%"):
            text = f"{text[:-1]}e-2"
        try:
            return _TRUTH[text] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            wanted = " or ".join([_KINDS[self.kind][2], *self.told.words])
            raise UsageError(f"{self.name} must be {wanted}, not {given!r}") from None

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema in an answer, where defaults that depend on others are settled."""
        if self.choices:
            return {"enum": list(self.choices)}
        told = self.told
        limits = {
            "minimum": told.least_layer if told.layer else told.at_least,
            "exclusiveMinimum": told.above,
            "maximum": told.to,
            "exclusiveMaximum": told.below,
        }
        given = {key: limit for key, limit in limits.items() if limit is not None}
        kind = _KINDS[self.kind][1]
        return {"type": [kind, "null"] if told.nullable else kind, **given}

    def _within(self, value: float) -> bool:
        told = self.told
        return (
            math.isfinite(value)
            and (told.at_least is None or value >= told.at_least)
            and (told.above is None or value > told.above)
            and (told.to is None or value <= told.to)
            and (told.below is None or value < told.below)
            and (not told.layer or value >= told.least_layer)
        )

    def _limits(self) -> str:
        told = self.told
        least = told.least_layer if told.layer else told.at_least
        if least is not None and told.to is None and told.below is None:
            return f"{least:g} or more"
        limits = [("at least", least), ("above", told.above)]
        limits += [("at most", told.to), ("below", told.below)]
        named = [f"{word} {limit:g}" for word, limit in limits if limit is not None]
        return " and ".join(named) or "finite"


def parameters_of(kind: type) -> dict[str, Parameter]:
    """The parameters of a dataclass by name, in the order of its fields.

    Args:
        kind: a dataclass; fields without a `Param` aren't parameters.

    Raises:
        TypeError: a field of another type, or one whose default nothing tells.
    """
    return _read(kind)


def check_all(options: Any) -> None:
    """Refuse values that parameters of a dataclass can't have.

    Raises:
        UsageError: (a ValueError) see `Parameter.check`.
    """
    for name, parameter in parameters_of(type(options)).items():
        parameter.check(getattr(options, name))


def key_part(options: Any) -> dict[str, Any]:
    """What is in a key of the fields of a dataclass, none of which may be another then.

    All of them with their values, defaults as well: a default that changes is asked anew. Only one
    that was added later is left out where it has the value `before` (of its `Param`, or in the
    metadata of a field that is no parameter): keys from before it was there, in which it is
    missing, mean just that.
    """
    parameters = parameters_of(type(options))
    before = {each.name: each.metadata.get("before", _ALWAYS_THERE) for each in fields(options)}
    before |= {name: parameter.told.before for name, parameter in parameters.items()}
    return {name: value for name, value in asdict(options).items() if value != before[name]}


@cache
def _read(kind: type) -> dict[str, Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for each in fields(kind):
        annotation = hints[each.name]
        told = next((x for x in getattr(annotation, "__metadata__", ()) if type(x) is Param), None)
        if told is not None:
            found[each.name] = _parameter(each.name, get_args(annotation)[0], each.default, told)
    return found


def check_layer(
    name: str, layer: int, layers: int, model: str = "this model", least: int = 1
) -> None:
    """Refuse a layer (0-based) to prune from that a model doesn't have, or below the least.

    Raises:
        UsageError: (a ValueError) no such layer.
    """
    if not least <= layer < layers:
        raise UsageError(
            f"{name} must be from {least} to {layers - 1} for {model}, which has {layers} layers, "
            f"not {layer}"
        )


def _parameter(name: str, annotation: Any, default: Any, told: Param) -> Parameter:
    # `int | None` is `int` and optional; a Literal is a choice of words.
    members = (annotation,) if get_origin(annotation) in (None, Literal) else get_args(annotation)
    optional = NoneType in members
    (kind,) = (member for member in members if member is not NoneType)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    kind = str if choices else kind
    if not choices and kind not in _KINDS:
        raise TypeError(f"{name}: a parameter can't be of the type {annotation}")
    if default is None and told.default is None:
        raise TypeError(f"{name}: a default of None needs `default` in its Param")
    return Parameter(name, kind, choices, optional, default, told)


def _either(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
