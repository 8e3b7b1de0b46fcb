"""Tools of `/v1/responses` by OpenAI's client: calls, their results, and the events of a stream."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from dycoke_cli.models.prompts.chat import ToolTurn
from dycoke_cli.server.refused import Refused
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import Running, running
from tests.server.responses.test_responses import asked as asked_about
from tests.server.responses.test_responses import read
from tests.server.test_tools import CALL, FORM
from tests.server.test_tools import TOOL as OF_CHAT

TOOL: dict[str, Any] = {"type": "function", "strict": False, **OF_CHAT["function"]}
ARGUMENTS = {"seconds": [1, 2.5]}


@pytest.fixture
def options() -> dict[str, Any]:
    return {"calls": FORM}


def asked(client: openai.OpenAI, given: Any, **more: Any) -> Any:
    return client.responses.create(model="mini", input=given, tools=[TOOL], **more)


def test_a_call_and_its_result_go_there_and_back(server: Running, client: openai.OpenAI) -> None:
    user = asked_about(f"Let me see. {CALL}")
    reply = asked(client, user)
    message, call = reply.output
    assert (message.type, reply.output_text) == ("message", "Let me see.")
    assert (call.type, call.name, call.status) == ("function_call", "zoom", "completed")
    assert json.loads(call.arguments) == ARGUMENTS
    assert (reply.tool_choice, reply.parallel_tool_calls) == ("auto", True)
    [tool] = reply.tools
    assert (tool.name, tool.parameters) == ("zoom", TOOL["parameters"])
    returned = {"type": "function_call_output", "call_id": call.call_id, "output": "A star."}
    # The client holds the conversation, or the server does.
    items = [*user, *(item.to_dict() for item in reply.output), returned]
    held = asked(client, [returned], previous_response_id=reply.id)
    sent = asked(client, items)
    assert held.output_text == sent.output_text == "A star. "
    first, second = server.pretended.histories[-2:]
    assert first == second
    [(_, answer)] = first
    assert isinstance(answer, ToolTurn)
    [assistant] = answer.messages
    assert assistant["content"] == [{"type": "text", "text": "Let me see."}]
    function = {"name": "zoom", "arguments": ARGUMENTS}
    assert [one["function"] for one in assistant["tool_calls"]] == [function]
    assert [one["id"] for one in assistant["tool_calls"]] == [call.call_id]


def test_a_stream_has_an_item_for_each_call(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model="mini",
        input=f"Let me see. {CALL} {CALL}",
        tools=[TOOL],  # type: ignore[list-item]
    ) as stream:
        events: list[Any] = [*stream]
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert final.output_text.strip() == "Let me see."
    numbers = [event.sequence_number for event in events]
    assert numbers == [*range(len(numbers))]
    added = [e for e in events if e.type == "response.output_item.added"]
    done = [e for e in events if e.type == "response.output_item.done"]
    assert [event.output_index for event in added] == [0, 1, 2]
    assert sorted(event.output_index for event in done) == [0, 1, 2]
    for event in done:
        assert event.item.id == final.output[event.output_index].id
    arguments = [e for e in events if e.type == "response.function_call_arguments.done"]
    for number, event in enumerate(arguments, 1):
        assert event.item_id == final.output[number].id
        assert json.loads(event.arguments) == ARGUMENTS
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == "".join(event.arguments for event in arguments)


def test_a_call_alone_has_no_message(client: openai.OpenAI) -> None:
    [call] = asked(client, CALL).output
    assert call.type == "function_call"
    types = [event.type for event in asked(client, CALL, stream=True)]
    assert "response.content_part.added" not in types
    assert types[-1] == "response.completed"


@NEEDS_LIBRARY
@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"type": "function", "name": "zoom"}, json.dumps(ARGUMENTS)),
        ("required", json.dumps({"name": "zoom", "arguments": ARGUMENTS})),
    ],
)
def test_a_call_that_is_forced(client: openai.OpenAI, choice: Any, text: str) -> None:
    for stream in (False, True):
        reply = asked(client, text, tool_choice=choice, stream=stream)
        if stream:
            *_, last = reply
            reply = last.response
        [call] = reply.output
        assert (call.name, json.loads(call.arguments)) == ("zoom", ARGUMENTS)


@pytest.mark.parametrize(
    ("given", "more", "parameter"),
    [
        ("?", {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ("?", {"tools": [TOOL], "tool_choice": {"type": "function"}}, None),
        ([{"type": "function_call", "name": "f", "call_id": "c"}], {}, "input[0].arguments"),
        ([{"type": "function_call", "name": "f", "arguments": "{}"}], {}, "input[0].call_id"),
        ([{"role": "assistant", "content": "I look."},
          {"type": "function_call", "name": "f", "arguments": "{", "call_id": "c"}], {},
         "input[1].arguments"),
        ([{"type": "function_call_output", "output": "x"}], {}, "input[0].call_id"),
        ([{"type": "function_call_output", "output": "x", "call_id": "c"}], {}, None),
        ([{"type": "function_call_output", "output": [{"type": "input_image",
          "image_url": "data:image/png;base64,AAAA"}], "call_id": "c"}], {}, "input[0].output"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused_is_named(given: Any, more: dict[str, Any], parameter: Any) -> None:
    with pytest.raises(Refused) as caught:
        read(given, **more)
    assert caught.value.status == 400
    if parameter is not None:
        assert caught.value.parameter == parameter


def test_a_model_without_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch) as server:
        body = json.dumps({"input": "?", "tools": [TOOL]}).encode()
        status, _, reply = server.request("POST", "/v1/responses", body)
    assert (status, json.loads(reply)["error"]["param"]) == (400, "tools")
