"""The short form of a schema: "colour:str,count:int,events:[{start:float,what:str}]"."""

from __future__ import annotations

import re
from typing import Any

from dycoke_cli.errors import UsageError

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_TOKENS = re.compile(r"\s*([{}\[\],:]|[^{}\[\],:]+)")
_MOST_DEPTH = 30
EXAMPLE = "colour:str,count:int,events:[{start:float,end:float,what:str}]"


def schema_of_fields(fields: str) -> dict[str, Any]:
    """The JSON Schema of an object with fields; all are required, and there are no others.

    A type is str, int, float, bool, a list `[TYPE]` or an object `{NAME:TYPE,…}`.
    """
    return _Parser(fields).object_until("")


class _Parser:
    """Reads one list of fields from left to right."""

    def __init__(self, fields: str) -> None:
        self._tokens = [token.strip() for token in _TOKENS.findall(fields)]
        self._place = self._depth = 0

    def object_until(self, end: str) -> dict[str, Any]:
        """The fields before a closing bracket, or before the end of the text."""
        self._deeper()
        properties: dict[str, Any] = {}
        while True:
            name = self._next()
            if not name or name in "{}[],:":
                raise self._wrong("the name of a field")
            if name in properties:
                raise UsageError(f"--fields has the field {name!r} twice")
            self._take(":")
            properties[name] = self._type()
            if (after := self._next()) == end:
                break
            if after != ",":
                raise self._wrong(f"a comma or {end or 'the end'}")
        self._depth -= 1
        return {
            "type": "object",
            "properties": properties,
            "required": [*properties],
            "additionalProperties": False,
        }

    def _type(self) -> dict[str, Any]:
        word = self._next()
        if word == "{":
            return self.object_until("}")
        if word == "[":
            self._deeper()
            items = self._type()
            self._take("]")
            self._depth -= 1
            return {"type": "array", "items": items}
        if word not in _TYPES:
            raise self._wrong(f"a type ({', '.join(_TYPES)}, [TYPE] or {{NAME:TYPE}})")
        return {"type": _TYPES[word]}

    def _take(self, wanted: str) -> None:
        if self._next() != wanted:
            raise self._wrong(f"a {wanted}")

    def _next(self) -> str:
        """The next token; "" behind the last one."""
        self._place += 1
        return self._tokens[self._place - 1] if self._place <= len(self._tokens) else ""

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise UsageError(f"--fields is nested more than {_MOST_DEPTH} deep")

    def _wrong(self, wanted: str) -> UsageError:
        found = self._tokens[self._place - 1 : self._place]
        where = repr(found[0][:60]) if found else "the end"
        return UsageError(f"--fields needs {wanted} in place of {where}, as in {EXAMPLE}")
