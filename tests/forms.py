"""Tests of answers of a given form run where the library for it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from dycoke_cli.engine.structured_output import StructuredOutput

NEEDS_LIBRARY = pytest.mark.skipif(
    find_spec("llguidance") is None, reason="forms of answers need the extra schema (llguidance)"
)


def an_object(**properties: Any) -> dict[str, Any]:
    """The schema of an object that has all of these properties, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def form_of(**types: str) -> StructuredOutput:
    """The form of such an object, by the types of its properties."""
    return StructuredOutput.from_schema(an_object(**{n: {"type": t} for n, t in types.items()}))
