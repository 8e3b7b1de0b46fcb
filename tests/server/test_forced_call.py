"""Forced calls of tools by OpenAI's client: the form of the answer, and the call that it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from jsonschema import ValidationError, validate

from dycoke_cli.server.refused import Refused
from dycoke_cli.server.tool_calls import ToolCall
from dycoke_cli.server.tools import ForcedCall
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import running
from tests.server.test_chat_request import read
from tests.server.test_tools import FORM, TOOL

pytestmark = NEEDS_LIBRARY

# As pydantic writes the schema of nested classes.
PLACE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "place",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"at": {"$ref": "#/$defs/Point"}},
            "required": ["at"],
            "additionalProperties": False,
            "$defs": {
                "Point": {
                    "type": "object",
                    "properties": {"x": {"type": "integer"}},
                    "required": ["x"],
                    "additionalProperties": False,
                }
            },
        },
    },
}
NAMED = {"type": "function", "function": {"name": "place"}}
USER = {"role": "user", "content": "What?"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[openai.OpenAI]:
    """Its model answers with the question, which is an answer of the form here."""
    with running(monkeypatch, calls=FORM) as server:
        yield server.client()


@pytest.mark.parametrize(
    ("choice", "text", "reason"),
    [
        (NAMED, '{"at": {"x": 3}}', "stop"),
        ("required", '{"name": "place", "arguments": {"at": {"x": 3}}}', "tool_calls"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_is_the_call(
    client: openai.OpenAI, choice: Any, text: str, reason: str, stream: bool
) -> None:
    asked: Any = {
        "model": "mini",
        "messages": [{"role": "user", "content": text}],
        "tools": [TOOL, PLACE],
        "tool_choice": choice,
        "parallel_tool_calls": False,
    }
    if stream:
        with client.chat.completions.stream(**asked) as events:
            found = events.get_final_completion().choices[0]
    else:
        found = client.chat.completions.create(**asked).choices[0]
    assert not found.message.content
    [call] = found.message.tool_calls
    assert call.id.startswith("call_")
    assert (call.function.name, json.loads(call.function.arguments)) == ("place", {"at": {"x": 3}})
    assert found.finish_reason == reason


def test_the_form_is_that_of_the_tools() -> None:
    """Against the schemas, by jsonschema: each call alone is one, and no other text."""
    form = read([USER], tools=[TOOL, PLACE], tool_choice="required").generation.structured
    assert form is not None
    schema = json.loads(form.definition)
    validate({"name": "place", "arguments": {"at": {"x": 3}}}, schema)
    validate({"name": "zoom", "arguments": {"seconds": []}}, schema)
    for wrong in (
        {"name": "place", "arguments": {"at": {"x": "3"}}},
        {"name": "place", "arguments": {}},
        {"name": "zoom", "arguments": {"seconds": 3}},
        {"name": "run", "arguments": {}},
        {"name": "zoom"},
    ):
        with pytest.raises(ValidationError):
            validate(wrong, schema)
    request = read([USER], tools=[TOOL, PLACE], tool_choice=NAMED)
    assert request.generation.structured is not None
    own = json.loads(request.generation.structured.definition)
    assert own == PLACE["function"]["parameters"]
    # The template shows all tools, whichever is called.
    assert [tool["function"]["name"] for tool in request.tools] == ["zoom", "place"]


def test_a_number_without_a_json_value_becomes_one() -> None:
    forced = ForcedCall((TOOL,), named=True)
    assert forced.call_of('{"seconds": [1e999]}') == ToolCall(
        "zoom", '{"seconds": [1.7976931348623157e+308]}'
    )


@pytest.mark.parametrize(
    ("more", "parameter"),
    [
        ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": NAMED}, "tool_choice"),
        ({"tool_choice": NAMED}, "tool_choice"),
        ({"tools": [TOOL, TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"tools": [{**PLACE, "function": {"name": "f", "strict": 1}}]}, "strict"),
        ({"tools": [PLACE], "tool_choice": NAMED, "guided_choice": ["a", "b"]}, "tools"),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}
                ],
                "tool_choice": "required",
            },
            "tools",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(more: dict[str, Any], parameter: str) -> None:
    with pytest.raises(Refused) as caught:
        read([USER], **more)
    assert (caught.value.status, caught.value.parameter) == (400, parameter)
