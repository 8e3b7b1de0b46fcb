"""What JSON of a stranger says, as the dataclasses that it should be."""

from __future__ import annotations

import functools
import math
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from dycoke_cli.unicode import shown


class MismatchError(ValueError):
    """A value isn't of the type that it should have."""


def from_json(kind: Any, value: Any) -> Any:
    """A value of a type: str, int, float (finite), bool, None, tuple[X, ...], dataclasses, unions.

    Texts are on one line and fit for a terminal.

    Raises:
        MismatchError: the value isn't one, or an object has other keys.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return from_json(arguments[0], value)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (other,) = (one for one in arguments if one is not NoneType)
        return from_json(other, value)
    if origin is tuple and isinstance(value, list):
        return tuple(from_json(arguments[0], one) for one in value)
    if is_dataclass(kind) and isinstance(value, dict):
        hints = _hints(kind)  # type: ignore[arg-type]
        if value.keys() == hints.keys():
            return kind(**{name: from_json(hint, value[name]) for name, hint in hints.items()})  # type: ignore[operator]
    if kind is str and isinstance(value, str):
        return shown(value).replace("\n", "\\n")
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind in (int, bool) and type(value) is kind:
        return value
    raise MismatchError(f"{value!r:.100} isn't of type {kind}")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)
