"""What the program prints, as tests need it: made up from the dataclasses, or held to the schema.

Nothing here imports torch before it is called.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from dycoke_cli.answer.json_schema import Doc, keys
from dycoke_cli.cli.commands.schema import read_schema

T = TypeVar("T")


def example(kind: type[T], **given: Any) -> T:
    """An object with the fields given; the others are made up from their types."""
    has_default = {
        field.name
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is not dataclasses.MISSING
    }
    made = {n: _value(hint) for n, hint in keys(kind).items() if n not in has_default | set(given)}
    return kind(**made, **given)


def _value(hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = _value(arguments[0])
        least = [doc.keywords.get("minimum", 0) for doc in arguments if isinstance(doc, Doc)]
        return max([value, *least]) if isinstance(value, (int, float)) else value
    if origin in (Union, types.UnionType):
        return None if types.NoneType in arguments else _value(arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin in (tuple, dict):
        return origin()
    return example(hint) if dataclasses.is_dataclass(hint) else {str: "text"}.get(hint, hint(1))


@functools.cache
def _check(name: str, part: str | None) -> Any:
    import jsonschema  # which processes that only make examples don't wait for

    schema = read_schema(name)
    if part is not None:
        schema = {"$defs": schema["$defs"], "$ref": f"#/$defs/{part}"}
    return jsonschema.Draft202012Validator(schema)


def is_valid(document: dict[str, Any], name: str, part: str | None = None) -> bool:
    """Whether an object is what `dycoke schema NAME` says, or one of its parts, such as "error"."""
    return bool(_check(name, part).is_valid(document))


def valid(document: dict[str, Any], name: str, part: str | None = None) -> dict[str, Any]:
    """An object, once the schema has taken it."""
    _check(name, part).validate(document)
    return document
