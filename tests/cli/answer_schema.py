"""The JSON Schema that the package has, in its parts: `dycoke ask --json` writes one of these."""

from __future__ import annotations

from typing import Any

from dycoke_cli.cli.schema import read_schema

ANY: dict[str, Any] = read_schema("answer")


def _part(**schema: Any) -> dict[str, Any]:
    return {"$schema": ANY["$schema"], "$defs": ANY["$defs"], **schema}


ANSWER = _part(**{"$ref": "#/$defs/answer"})
UNCOMPARED = _part(**{"$ref": "#/$defs/answer", "not": {"required": ["compared_to"]}})
ERROR = _part(**{"$ref": "#/$defs/error"})
