"""JSON objects as frozen dataclasses: to and from objects, and their JSON Schema.

A field is a key and its type is the schema of the value: `str`, `int`, `float`, `bool`, `None`,
`Literal`, `tuple[X, ...]`, `dict[str, X]`, dataclasses and unions of these. `Annotated[X, Doc(…)]`
adds what a type can't say.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
_MOST = 2**63


class Absent(Enum):
    """The type of a key that an object may do without; None is the value null."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


class Doc:
    """What the schema says of a field beside its type.

    Args:
        description: for a person, in a sentence.
        needs: other keys that an object with this one has, too.
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
class Part:
    """One of the objects that a document may be.

    Args:
        type: a dataclass.
        needs: keys that must be there although the dataclass lets them be absent.
        without: keys that are never there.
    """

    type: type
    needs: Sequence[str] = ()
    without: Sequence[str] = ()


def to_dict(value: Any) -> Any:
    """A dataclass as what `json.dumps` takes, its keys in the order of the fields."""
    if is_dataclass(value):
        kind: Any = type(value)
        found = {name: getattr(value, name) for name in keys(kind)}
        return {name: to_dict(one) for name, one in found.items() if one is not ABSENT}
    if isinstance(value, Mapping):
        return {name: to_dict(one) for name, one in value.items()}
    return [to_dict(one) for one in value] if isinstance(value, (tuple, list)) else value


def from_dict(hint: Any, value: Any) -> Any:
    """What `to_dict` made an object of: a dataclass, or what else the type says.

    Args:
        hint: the type.
        value: as `json.loads` gives it.

    Raises:
        ValueError: it isn't of that type: a key is missing or unknown, or a value is another kind.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return from_dict(arguments[0], value)
    if origin in (Union, UnionType):
        for one in arguments:
            with suppress(ValueError):
                return from_dict(one, value)
    elif origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
            return tuple(from_dict(*pair) for pair in zip(kinds, value, strict=True))
    elif origin in (dict, Mapping):
        if isinstance(value, dict):
            return {name: from_dict(arguments[1], one) for name, one in value.items()}
    elif is_dataclass(hint):
        return _object_of(hint, value)
    elif hint is float or hint is int:
        # Whatever is counted with them stays finite.
        if isinstance(value, (int, hint)) and abs(value) < _MOST:
            return value
    elif isinstance(value, hint):
        return value
    raise ValueError(f"not of the type {hint}")


def _object_of(kind: Any, value: Any) -> Any:
    hints = keys(kind)
    if not isinstance(value, dict) or not value.keys() <= hints.keys():
        raise ValueError(f"not a {kind.__name__}")
    given = {name: from_dict(hints[name], one) for name, one in value.items()}
    try:
        return kind(**given)
    except TypeError as error:  # a key is missing
        raise ValueError(f"not a {kind.__name__}") from error


def schema_of(name: str, description: str, parts: Mapping[str, Part]) -> dict[str, Any]:
    """The JSON Schema of a document that is one of several objects.

    Args:
        name: such as "dycoke.answer/1"; each part has it under its key `schema`.
        description: of the document.
        parts: by their names in `$defs`.
    """
    named = {part.type: key for key, part in parts.items()}
    definitions = {key: _object(part, named) for key, part in parts.items()}
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
    hints = get_type_hints(cls, include_extras=True)
    fields = cls.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: hints[name] for name in fields if NOT_A_KEY not in get_args(hints[name])}


def _object(part: Part, named: Mapping[type, str]) -> dict[str, Any]:
    hints = {name: hint for name, hint in keys(part.type).items() if name not in part.without}
    needs = {name: doc.needs for name, hint in hints.items() for doc in _docs(hint) if doc.needs}
    return {
        "type": "object",
        "properties": {name: _schema(hint, named) for name, hint in hints.items()},
        "required": [
            name for name in hints if name in part.needs or Absent not in _members(hints[name])
        ],
        "additionalProperties": False,
        **({"dependentRequired": needs} if needs else {}),
    }


def _schema(hint: Any, named: Mapping[type, str]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = _schema(arguments[0], named)
        for doc in _docs(hint):
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
        known = named.get(hint)  # type: ignore[arg-type]
        return {"$ref": f"#/$defs/{known}"} if known else _object(Part(hint), named)  # type: ignore[arg-type]
    return {} if hint is Any else {"type": _TYPES[hint]}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """A value that fits one of these; where all but null is one type, that is said in a line."""
    null = {"type": "null"}
    others = [schema for schema in schemas if schema != null]
    if len(others) == len(schemas) == 1:
        return schemas[0]
    if len(others) == 1 and isinstance(others[0].get("type"), str):
        return others[0] | {"type": [others[0]["type"], "null"]}
    if len(others) == 1 and "enum" in others[0]:
        return {"enum": [*others[0]["enum"], None]}
    return {"anyOf": schemas}


def _docs(hint: Any) -> list[Doc]:
    return [one for one in get_args(hint) if isinstance(one, Doc)]


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    return get_args(hint)
