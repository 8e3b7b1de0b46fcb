"""Reads JSON, also untrusted JSON, into dataclasses (see `json_schema` for their types)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dycoke_cli.answer.json_schema import Unreported, docs_of, hints_of, is_remote, keys

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
    hints = {name: hint for name, hint in keys(kind).items() if not is_remote(hint)}
    return {name: read_or_none(hint, given.get(name), text) for name, hint in hints.items()}


def read_or_none(hint: Any, value: Any, text: Callable[[str], str] = str) -> Any:
    """Read a JSON value as a type (see `from_dict`); None if it has another type."""
    with suppress(MismatchError):
        return from_dict(hint, value, text)
    return None
