"""Every method by the name it has on the command line."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.compression.fastv import FastV
from dycoke_cli.compression.random_merge import RandomMerge
from dycoke_cli.errors import UsageError

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Method, DyCoke, RandomMerge, FastV)
}


def create(name: str, **parameters: Any) -> Method:
    """Make a method from its name and parameters.

    Raises:
        UsageError: no such method, a parameter that it doesn't have, or one out of range.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"there is no method {name!r} (there are {', '.join(METHODS)}){hint}")
    method = METHODS[name]
    known = {field.name for field in fields(method)}
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        raise UsageError(f"method {name} has no parameter {unknown[0]}")
    return method(**parameters)
