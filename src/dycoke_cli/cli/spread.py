"""Spreads dataclasses of options into the signature of a command, where Typer looks for them."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from functools import wraps
from typing import Any


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Make each field of a parameter that is a dataclass a parameter of its own, in its place.

    Args:
        command: a function; what it is called with is put back together.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    parameters: dict[str, inspect.Parameter] = {}
    groups: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            groups[name] = kind
            parameters |= _parameters(kind)
        else:
            parameters[name] = parameter.replace(annotation=kind)

    @wraps(command)
    def spread_out(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in dataclasses.fields(group)})
        command(**given)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters.values()]
    returns = hints.get("return", inspect.Signature.empty)
    spread_out.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        keyword_only, return_annotation=returns
    )
    spread_out.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    return spread_out


def _parameters(group: Any) -> dict[str, inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    return {
        field.name: inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty
            if field.default is dataclasses.MISSING
            else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    }
