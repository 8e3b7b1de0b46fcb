"""Tools of a request: definitions, calls and results; and the form of an answer that calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import parse
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import UsageError
from dycoke_cli.models.prompts.chat import ToolTurn, text_message
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    CALL,
    CALLED,
    FUNCTION,
    TOOL,
    TOOL_CHOICE,
    TOOL_CHOICE_FUNCTION,
    Keys,
    flag_of,
    json_of,
    list_of,
    object_of,
    text_of,
)
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from dycoke_cli.server.tool_calls import CallMarks, ToolCall


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
                    _schema_of(function["name"], number)
                    for number, function in enumerate(functions)
                ],
                "$defs": {
                    f"tool{number}": _moved(function["parameters"], f"#/$defs/tool{number}")
                    for number, function in enumerate(functions)
                },
            }
        try:
            return StructuredOutput.from_schema(schema)
        except UsageError as error:
            raise Refused(f"tools: {error}", "tools") from error

    def call_of(self, text: str) -> ToolCall:
        """The call that an answer of this form is."""
        # Imported late: a body is read without transformers.
        from dycoke_cli.server.tool_calls import ToolCall

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


def _schema_of(name: str, number: int) -> dict[str, Any]:
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


@dataclass(frozen=True)
class StrictCalls:
    """Calls that an answer may have, in or in place of a text."""

    # that may be called; those whose arguments may be any object have a schema of that
    tools: tuple[Mapping[str, Any], ...]
    most_one: bool = False  # whether the answer ends behind its first call

    def form(self, marks: CallMarks) -> StructuredOutput:
        """Form of the answer: free text until the opening of a call, then a call of the tools."""
        call = ForcedCall(self.tools, named=False).form()
        return StructuredOutput("text", _grammar(marks, call.as_part, self.most_one))


def _grammar(marks: CallMarks, call: str, most_one: bool) -> str:
    """Lark, as llguidance has it, of a text with calls."""
    # A token that stands for a text of its own is no text to the library, so each is named. A text
    # may have any of them but the one that opens a call.
    tokens = {text: f"<[{number}]>" for text, number in marks.added.items()}
    opened, closed = tokens.pop(marks.opening, None), tokens.get(marks.closing)
    passed = f"(TEXT ({' | '.join(tokens.values())}))*" if tokens else ""
    rules = (
        f"start: call | {passed} TEXT" if most_one else f"start: call* {passed} TEXT",
        f'call: {passed} opening "\\n"? object "\\n"? closing',
        "opening: opening_text" + (f" | TEXT {opened}" if opened else ""),
        # Lazy: the first such text opens a call, whatever comes behind it.
        f"opening_text[lazy]: TEXT {json.dumps(marks.opening)}",
        f"closing: {json.dumps(marks.closing)}" + (f" | {closed}" if closed else ""),
        f"object: %json {call}",
        "TEXT: /(?s:.)*/",
    )
    return "\n".join(rules)


_MOST_TOOLS = 128
_SHOWN = 100


@dataclass(frozen=True)
class Offer:
    """What an answer may call, or has to."""

    tools: tuple[dict[str, Any], ...] = ()  # that it may call
    forced: ForcedCall | None = None  # the call that it has to be; None where it may be a text
    # calls that it may have, where arguments are held to schemas, or where it may be one
    strict: StrictCalls | None = None


def offered(body: Mapping[str, Any]) -> Offer:
    """The tools of a request."""
    given = body.get("tools")
    listed = [] if given is None else list_of(given, "tools")
    if len(listed) > _MOST_TOOLS:
        raise Refused(f"there may be {_MOST_TOOLS} tools, not {len(listed)}", "tools")
    functions = [
        FUNCTION.object(_function(one, f"tools[{number}]", TOOL), f"tools[{number}].function")
        for number, one in enumerate(listed)
    ]
    tools = tuple(
        _kept(function, f"tools[{number}].function") for number, function in enumerate(functions)
    )
    is_strict = [flag_of(function, "strict") for function in functions]
    forced = _forced(body.get("tool_choice"), tools)
    one_call = not flag_of(body, "parallel_tool_calls")
    one_call = one_call and body.get("parallel_tool_calls") is not None
    if not tools or body.get("tool_choice") == "none":
        return Offer()
    if forced is not None:  # it is one call, whose arguments are held to the schema
        return Offer(tools, forced)
    if not (one_call or any(is_strict)):
        return Offer(tools)
    held = tuple(tool if own else _loose(tool) for tool, own in zip(tools, is_strict, strict=True))
    return Offer(tools, strict=StrictCalls(held, one_call))


def _loose(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool whose arguments may be any object."""
    return {**tool, "function": {**tool["function"], "parameters": {"type": "object"}}}


def _forced(choice: Any, tools: tuple[dict[str, Any], ...]) -> ForcedCall | None:
    """The call that `tool_choice` forces; None where it forces none."""
    if choice in (None, "none", "auto"):
        return None
    if choice == "required":
        names = [tool["function"]["name"] for tool in tools]
        if not names or len({*names}) < len(names):
            raise Refused(
                "tool_choice required needs tools, each with a name of its own", "tool_choice"
            )
        return ForcedCall(tools, named=False)
    if not isinstance(choice, Mapping):
        raise Refused("tool_choice must be none, auto, required or a function", "tool_choice")
    path = "tool_choice.function"
    called = TOOL_CHOICE_FUNCTION.object(_function(choice, "tool_choice", TOOL_CHOICE), path)
    name = text_of(called.get("name"), "tool_choice: the name of the function")
    found = [tool for tool in tools if tool["function"]["name"] == name]
    if len(found) != 1:
        raise Refused(
            f"tool_choice names {display_name(name)[:_SHOWN]}, which must be one of the tools",
            "tool_choice",
        )
    return ForcedCall(tuple(found), named=True)


def _function(given: Any, path: str, keys: Keys) -> Any:
    """The function of a tool, or of a choice of one."""
    found = keys.object(given, path)
    if found.get("type") != "function":
        raise Refused(f"{path}.type must be function", f"{path}.type")
    return found.get("function")


def _kept(function: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A tool for the chat template."""
    kept: dict[str, Any] = {"name": text_of(function.get("name"), f"{path}.name")}
    if function.get("description") is not None:
        kept["description"] = text_of(function["description"], f"{path}.description")
    parameters = function.get("parameters")
    # Templates print them, and some expect an object of properties.
    empty = {"type": "object", "properties": {}}
    path = f"{path}.parameters"
    kept["parameters"] = empty if parameters is None else json_of(object_of(parameters, path), path)
    return {"type": "function", "function": kept}


def calling(given: Any, text: str, path: str) -> ToolTurn:
    """The turn of an assistant that called tools."""
    calls = [_call(call, f"{path}[{number}]") for number, call in enumerate(list_of(given, path))]
    message = text_message("assistant", text)
    if not text:
        message["content"] = []
    return ToolTurn([{**message, "tool_calls": calls}])


def _call(given: Any, path: str) -> dict[str, Any]:
    call = CALL.object(given, path)
    function = CALLED.object(call.get("function"), f"{path}.function")
    place = f"{path}.function.arguments"
    try:
        read = parse(text_of(function.get("arguments"), place).encode())
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise Refused(f"{place} must be JSON of an object", place)
    name = text_of(function.get("name"), f"{path}.function.name")
    called = {"name": name, "arguments": json_of(read, place)}
    kept = {"type": "function", "function": called}
    return kept if call.get("id") is None else {**kept, "id": text_of(call["id"], f"{path}.id")}


def result(text: str, call: Any, path: str) -> ToolTurn:
    """The turn of a tool that was called."""
    called = text_of(call, f"{path}.tool_call_id")
    return ToolTurn([{**text_message("tool", text), "tool_call_id": called}])
