"""Tools of a request to /v1/chat/completions: their definitions, calls and results, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dycoke_cli.models.prompts.tool_turns import ToolTurn, text_message
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    CALL,
    CALLED,
    FUNCTION,
    TOOL,
    flag_of,
    list_of,
    object_of,
    text_of,
)

_MOST_TOOLS = 128


def offered(body: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The tools that the answer to a request may call.

    Args:
        body: of the request.

    Raises:
        Refused: they aren't functions, or a call is forced or limited, which nothing here does.
    """
    given = body.get("tools")
    tools = [] if given is None else list_of(given, "tools")
    choice = body.get("tool_choice")
    if choice not in (None, "none", "auto"):
        raise Refused(
            400, "tool_choice must be none or auto: no call can be forced", parameter="tool_choice"
        )
    one_call = body.get("parallel_tool_calls") is not None
    one_call = not flag_of(body, "parallel_tool_calls") and one_call
    if len(tools) > _MOST_TOOLS:
        raise Refused(400, f"there may be {_MOST_TOOLS} tools, not {len(tools)}", parameter="tools")
    found = tuple(_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools))
    if not found or choice == "none":
        return ()
    if one_call:
        raise Refused(
            400,
            "parallel_tool_calls false isn't supported: an answer may have several calls",
            parameter="parallel_tool_calls",
        )
    return found


def _tool(given: Any, path: str) -> dict[str, Any]:
    tool = TOOL.object(given, path)
    if tool.get("type") != "function":
        raise Refused(400, f"{path}.type must be function", parameter=f"{path}.type")
    path = f"{path}.function"
    function = FUNCTION.object(tool.get("function"), path)
    kept: dict[str, Any] = {"name": text_of(function.get("name"), f"{path}.name")}
    if function.get("description") is not None:
        kept["description"] = text_of(function["description"], f"{path}.description")
    parameters = function.get("parameters")
    # Templates print them, and some expect an object of properties.
    empty = {"type": "object", "properties": {}}
    kept["parameters"] = (
        empty if parameters is None else object_of(parameters, f"{path}.parameters")
    )
    return {"type": "function", "function": kept}


def calling(given: Any, text: str, path: str) -> ToolTurn:
    """The turn of an assistant that called tools.

    Args:
        given: `tool_calls` of its message.
        text: beside them; empty without any.
        path: of `tool_calls` in the request, for errors.

    Raises:
        Refused: they aren't calls of functions.
    """
    calls = [_call(call, f"{path}[{number}]") for number, call in enumerate(list_of(given, path))]
    message = text_message("assistant", text)
    if not text:
        message["content"] = []
    return ToolTurn([{**message, "tool_calls": calls}])


def _call(given: Any, path: str) -> dict[str, Any]:
    call = CALL.object(given, path)
    function = CALLED.object(call.get("function"), f"{path}.function")
    arguments = text_of(function.get("arguments"), f"{path}.function.arguments")
    try:
        read = json.loads(arguments)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        path = f"{path}.function.arguments"
        raise Refused(400, f"{path} must be JSON of an object", parameter=path)
    name = text_of(function.get("name"), f"{path}.function.name")
    kept = {"type": "function", "function": {"name": name, "arguments": read}}
    return kept if call.get("id") is None else {**kept, "id": text_of(call["id"], f"{path}.id")}


def result(text: str, call: Any, path: str) -> ToolTurn:
    """The turn of a tool that was called.

    Args:
        text: what it returned.
        call: `tool_call_id` of its message.
        path: of the message, for errors.

    Raises:
        Refused: it names no call.
    """
    called = text_of(call, f"{path}.tool_call_id")
    return ToolTurn([{**text_message("tool", text), "tool_call_id": called}])
