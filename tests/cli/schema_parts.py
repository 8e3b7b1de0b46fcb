"""What the schemas of `--json` objects are made of."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
AMOUNT = {"type": "number", "minimum": 0}


def closed(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object that has these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in optional],
        "additionalProperties": False,
    }


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A value that may be missing."""
    return {"anyOf": [schema, {"type": "null"}]}


def keyed(schema: dict[str, Any]) -> dict[str, Any]:
    """An object with any keys, all values of one kind."""
    return {"type": "object", "additionalProperties": schema}
