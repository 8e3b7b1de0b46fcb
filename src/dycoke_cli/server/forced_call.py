"""Call of a tool that an answer has to be: its arguments are held to the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import UsageError
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.tool_calls import ToolCall


@dataclass(frozen=True)
class ForcedCall:
    """One call of a tool, in place of any text.

    The answer is JSON: the arguments where the request names the function, else an object of name
    and arguments.
    """

    tools: tuple[Mapping[str, Any], ...]  # that may be called, with different names
    named: bool  # whether the request names the function, so that there is one tool

    def form(self) -> StructuredOutput:
        """Form of the answer."""
        functions = [tool["function"] for tool in self.tools]
        if self.named:
            schema = functions[0]["parameters"]
        else:
            schema = {
                "anyOf": [
                    _call(function["name"], number) for number, function in enumerate(functions)
                ],
                "$defs": {
                    f"tool{number}": _moved(function["parameters"], f"#/$defs/tool{number}")
                    for number, function in enumerate(functions)
                },
            }
        try:
            return StructuredOutput.from_schema(schema)
        except UsageError as error:
            raise Refused(400, f"tools: {error}", parameter="tools") from error

    def call_of(self, text: str) -> ToolCall:
        """The call that an answer of this form is."""
        value = StructuredOutput.value(text)
        if self.named:
            name, arguments = self.tools[0]["function"]["name"], value
        else:
            name, arguments = value["name"], value["arguments"]
        return ToolCall(name, json.dumps(arguments, ensure_ascii=False))


class ForcedCallParser:
    """Parser of an answer that is a call; see `CallParser`. The call is known at its end."""

    def __init__(self, forced: ForcedCall) -> None:
        self._forced, self._text = forced, ""

    def feed(self, text: str) -> Sequence[str | ToolCall]:
        """Nothing, until the end."""
        self._text += text
        return ()

    def end(self) -> Sequence[str | ToolCall]:
        """The call; the text where the question wasn't put to the model."""
        try:
            return [self._forced.call_of(self._text)]
        except ValueError:
            return [self._text]


def _call(name: str, number: int) -> dict[str, Any]:
    """Schema of a call of one function."""
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/tool{number}"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """A schema whose references hold where it is a part of another one, at `place`."""
    if isinstance(schema, Mapping):
        return {
            key: place + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, place)
            for key, value in schema.items()
        }
    return [_moved(one, place) for one in schema] if isinstance(schema, list) else schema
