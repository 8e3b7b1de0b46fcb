"""JSON objects as frozen dataclasses: their JSON Schema, and how untrusted JSON is read into them.

A field is a key and its type is the schema of the value: `str`, `int`, `float`, `bool`, `None`,
`Literal`, `tuple[X, ...]`, `dict[str, X]`, dataclasses and unions of these. `Annotated[X, Doc(…)]`
adds what a type can't say.

Own code rather than msgspec or pydantic: neither makes schemas that depend on the part of a
document (`SchemaVariant`), so either would replace `from_dict` alone. Importing pydantic also takes
0.1 s.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from enum import Enum
from itertools import accumulate
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


class Absent(Enum):
    """The type of a key that an object may do without; None is the value null."""

    ABSENT = "absent"

    def __bool__(self) -> bool:
        return False


ABSENT = Absent.ABSENT

if TYPE_CHECKING:
    # A type checker takes `int | Unreported` for an int, as typeshed does with values that are
    # seldom None: code for models on this machine needs no check for None at each figure.
    Unreported = Any
else:

    class Unreported:
        """The type of a null for a value that a server doesn't report."""


class Doc:
    """What the schema says of a field beside its type.

    Args:
        keywords: of JSON Schema, such as `minimum=0`.
    """

    def __init__(self, description: str = "", *, needs: Sequence[str] = (), **keywords: Any):
        self.needs = list(needs)
        self.keywords = ({"description": description} if description else {}) | keywords


NOT_A_KEY = Doc()
"""Marks a field that isn't part of the JSON object."""

Count = Annotated[int, Doc(minimum=0)]
Amount = Annotated[float, Doc(minimum=0)]


@dataclass(frozen=True)
class SchemaVariant:
    """One of the objects that a document may be."""

    type: type  # a dataclass
    needs: Sequence[str] = ()  # keys that must be there although the dataclass lets them be absent
    without: Sequence[str] = ()  # keys that are never there


def to_dict(value: Any) -> Any:
    """Convert a dataclass to what `json.dumps` takes, its keys in the order of the fields."""
    if is_dataclass(value):
        kind: Any = type(value)
        values = {name: getattr(value, name) for name in keys(kind)}
        return {name: to_dict(one) for name, one in values.items() if one is not ABSENT}
    if isinstance(value, Mapping):
        return {name: to_dict(one) for name, one in value.items()}
    return [to_dict(one) for one in value] if isinstance(value, (tuple, list)) else value


def schema_of(name: str, description: str, parts: Mapping[str, SchemaVariant]) -> dict[str, Any]:
    """The JSON Schema of a document that is one of several objects.

    Args:
        name: such as "dycoke.answer/1"; each part has it under its key `schema`.
    """
    definitions = {key: _object(part, {part.type: key}) for key, part in parts.items()}
    for definition in definitions.values():
        definition["properties"]["schema"] = {"const": name}
    return {
        "$schema": DIALECT,
        "$id": name,
        "title": name,
        "description": description,
        "oneOf": [{"$ref": f"#/$defs/{key}"} for key in parts],
        "$defs": definitions,
    }


@functools.cache
def keys(cls: type) -> Mapping[str, Any]:
    """The keys of a dataclass with their types."""
    return {name: hint for name, hint in hints_of(cls).items() if NOT_A_KEY not in get_args(hint)}


@functools.cache
def hints_of(cls: Any) -> Mapping[str, Any]:
    """The fields of a dataclass with their types, including those marked `NOT_A_KEY`."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name] for name in cls.__dataclass_fields__}


def _object(part: SchemaVariant, named: Mapping[type, str]) -> dict[str, Any]:
    hints = {name: hint for name, hint in keys(part.type).items() if name not in part.without}
    needs = {name: doc.needs for name, hint in hints.items() for doc in docs_of(hint) if doc.needs}
    return {
        "type": "object",
        "properties": {name: _schema(hint, named) for name, hint in hints.items()},
        "required": [
            name
            for name, hint in hints.items()
            if name in part.needs or Absent not in _members(hint)
        ],
        "additionalProperties": False,
        **({"dependentRequired": needs} if needs else {}),
    }


def _schema(hint: Any, named: Mapping[type, str]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = _schema(arguments[0], named)
        for doc in docs_of(hint):
            schema |= doc.keywords
        return schema
    if origin in (Union, UnionType):
        return _any_of([_schema(one, named) for one in arguments if one is not Absent])
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], named)}
    if origin is dict:
        values = _schema(arguments[1], named)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if is_dataclass(hint):
        key = named.get(hint)  # type: ignore[arg-type]
        return {"$ref": f"#/$defs/{key}"} if key else _object(SchemaVariant(hint), named)  # type: ignore[arg-type]
    if hint is Any:
        return {}
    return {"type": "null" if hint is Unreported else _TYPES[hint]}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Schema of a union."""
    # `{"type": ["integer", "null"]}` is shorter than an `anyOf`, and what most tools expect.
    null = {"type": "null"}
    others = [schema for schema in schemas if schema != null]
    if len(others) == len(schemas) == 1:
        return schemas[0]
    if len(others) == 1 and isinstance(others[0].get("type"), str):
        return others[0] | {"type": [others[0]["type"], "null"]}
    if len(others) == 1 and "enum" in others[0]:
        return {"enum": [*others[0]["enum"], None]}
    return {"anyOf": schemas}


def docs_of(hint: Any) -> list[Doc]:
    """The `Doc`s of an annotated type."""
    return [one for one in get_args(hint) if isinstance(one, Doc)]


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    return get_args(hint)


# Its end is optional and nothing is tried twice (possessive), so that a string without an end, or
# one full of escapes, takes linear time.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(set(range(256)) - _STEPS.keys())


class BoundsError(ValueError):
    """A document exceeds a limit; the message says which, as in "it has more than 9 values"."""


@dataclass(frozen=True)
class Bounds:
    """Limits on a JSON document, checked before it is parsed.

    A parsed value takes up to a hundred times its text: 50 MB of `[[],[],…]` become 1.3 GB.
    """

    nbytes: int = 16 * 1024**2  # length as UTF-8
    values: int = 1_000_000  # number of lists, objects and their members
    depth: int = 64  # nested lists and objects

    def check_length(self, length: int) -> None:
        """Check a number of bytes."""
        if length > self.nbytes:
            raise BoundsError(f"it is larger than {self.nbytes:,} bytes")

    def check_values(self, count: int) -> None:
        """Check a number of values."""
        if count > self.values:
            raise BoundsError(f"it has more than {self.values:,} values")

    def check(self, content: bytes) -> None:
        """Check a document that a library is about to parse."""
        self.check_length(len(content))
        if count_values(content) <= min(self.values, self.depth):
            return
        if b"\0" in content:  # UTF-16 or UTF-32, which the json module takes as well
            raise BoundsError("it isn't UTF-8")
        bare = _STRING.sub(b"", content)
        self.check_values(count_values(bare))
        steps = bare.translate(None, _OTHERS)
        if len(steps) > 2 * self.values:
            raise BoundsError("it has more brackets that close than that open")
        if max(accumulate(map(_STEPS.__getitem__, steps)), default=0) > self.depth:
            raise BoundsError(f"it is nested more than {self.depth} deep")


def count_values(content: bytes) -> int:
    """Number of values in JSON without strings, or an upper limit of it in any JSON."""
    return sum(map(content.count, (b"[", b"{", b",")))


def parse(content: bytes, bounds: Bounds | None = None) -> Any:
    """Parse an untrusted document within limits.

    Args:
        content: UTF-8.
        bounds: None for the defaults.
    """
    (bounds or Bounds()).check(content)
    return json.loads(content.decode("utf-8-sig"))


_MOST = 2**63


class MismatchError(ValueError):
    """A JSON value doesn't have the expected type."""


def from_dict(hint: Any, value: Any, text: Callable[[str], str] = str) -> Any:
    """Read a JSON value as a type: the inverse of `json_schema.to_dict`.

    Args:
        hint: the type, such as a dataclass.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        read = from_dict(arguments[0], value, text)
        if isinstance(read, (int, float)):
            for doc in docs_of(hint):
                if read < doc.keywords.get("minimum", read):
                    raise MismatchError(f"not of the type {hint}")
        return read
    if origin in (Union, UnionType):
        # The first type that fits, in the order of the annotation.
        for one in arguments:
            with suppress(MismatchError):
                return from_dict(one, value, text)
    elif origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
            if len(kinds) == len(value):
                pairs = zip(kinds, value, strict=True)
                return tuple(from_dict(kind, one, text) for kind, one in pairs)
    elif origin in (dict, Mapping):
        if isinstance(value, dict):
            return {text(name): from_dict(arguments[1], one, text) for name, one in value.items()}
    elif is_dataclass(hint):
        return _object_of(hint, value, text)
    elif hint is float or hint is int:
        # Bounded, so that sums of untrusted numbers stay finite; a bool is an int in Python only.
        if isinstance(value, (int, hint)) and type(value) is not bool and abs(value) < _MOST:
            return value
    elif hint is Unreported:
        if value is None:
            return None
    elif isinstance(value, hint):
        return text(value) if isinstance(value, str) else value
    raise MismatchError(f"not of the type {hint}")


def _object_of(kind: Any, value: Any, text: Callable[[str], str]) -> Any:
    hints = hints_of(kind)
    if not isinstance(value, dict) or not value.keys() <= hints.keys():
        raise MismatchError(f"not a {kind.__name__}")
    given = {name: from_dict(hints[name], one, text) for name, one in value.items()}
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:  # a key is missing, or the class refuses a value
        raise MismatchError(f"not a {kind.__name__}") from error


def reported(kind: type, value: Any, text: Callable[[str], str] = str) -> dict[str, Any]:
    """Read the figures that a server of any version reports, key by key.

    Returns:
        The value of each key of the dataclass that a server may report; None if it is missing or
        has another type. Unknown keys are ignored.
    """
    # Key by key, not the object as a whole: an older server lacks a key, a newer one has one more,
    # and neither may cost the other figures.
    given = value if isinstance(value, dict) else {}
    hints = {name: hint for name, hint in keys(kind).items() if Absent not in _members(hint)}
    return {name: read_or_none(hint, given.get(name), text) for name, hint in hints.items()}


def read_or_none(hint: Any, value: Any, text: Callable[[str], str] = str) -> Any:
    """Read a JSON value as a type (see `from_dict`); None if it has another type."""
    with suppress(MismatchError):
        return from_dict(hint, value, text)
    return None
