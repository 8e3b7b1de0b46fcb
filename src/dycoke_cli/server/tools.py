"""Tools of a request: their definitions, calls and results, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dycoke_cli.answer.json_schema import parse
from dycoke_cli.models.prompts.chat import ToolTurn, text_message
from dycoke_cli.server.forced_call import ForcedCall
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
from dycoke_cli.server.strict_calls import StrictCalls
from dycoke_cli.unicode import display_name

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
        raise Refused(
            400, f"there may be {_MOST_TOOLS} tools, not {len(listed)}", parameter="tools"
        )
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
                400,
                "tool_choice required needs tools, each with a name of its own",
                parameter="tool_choice",
            )
        return ForcedCall(tools, named=False)
    if not isinstance(choice, Mapping):
        raise Refused(
            400,
            "tool_choice must be none, auto, required or a function",
            parameter="tool_choice",
        )
    path = "tool_choice.function"
    called = TOOL_CHOICE_FUNCTION.object(_function(choice, "tool_choice", TOOL_CHOICE), path)
    name = text_of(called.get("name"), "tool_choice: the name of the function")
    found = [tool for tool in tools if tool["function"]["name"] == name]
    if len(found) != 1:
        raise Refused(
            400,
            f"tool_choice names {display_name(name)[:_SHOWN]}, which must be one of the tools",
            parameter="tool_choice",
        )
    return ForcedCall(tuple(found), named=True)


def _function(given: Any, path: str, keys: Keys) -> Any:
    """The function of a tool, or of a choice of one."""
    found = keys.object(given, path)
    if found.get("type") != "function":
        raise Refused(400, f"{path}.type must be function", parameter=f"{path}.type")
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
        raise Refused(400, f"{place} must be JSON of an object", parameter=place)
    name = text_of(function.get("name"), f"{path}.function.name")
    called = {"name": name, "arguments": json_of(read, place)}
    kept = {"type": "function", "function": called}
    return kept if call.get("id") is None else {**kept, "id": text_of(call["id"], f"{path}.id")}


def result(text: str, call: Any, path: str) -> ToolTurn:
    """The turn of a tool that was called."""
    called = text_of(call, f"{path}.tool_call_id")
    return ToolTurn([{**text_message("tool", text), "tool_call_id": called}])
