"""Tools of a request by OpenAI's client: calls as they come back, results as they are sent."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from dycoke_cli.models.prompts.chat import ToolTurn
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.tool_calls import CallFormat
from tests.server.pretended import Running, running
from tests.server.test_chat_request import read

CALLED = '{"name": "zoom", "arguments": {"seconds": [1, 2.5]}}'
CALL = f"<tool_call> {CALLED} </tool_call>"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "zoom",
        "description": "Look closer.",
        "parameters": {"type": "object", "properties": {"seconds": {"type": "array"}}},
    },
}
USER = {"role": "user", "content": "What?"}
# Parsed by hand: text up to the tag, and JSON within it.
FORM = CallFormat(
    {
        "start_anchor": "assistant:",
        "fields": {
            "tool_calls": {
                "open_pattern": r"\s*<tool_call>",
                "close": "</tool_call>",
                "repeats": True,
                "content": "json",
                "transform": {"type": "function", "function": "{content}"},
            },
            "content": {"content": "text"},
        },
    },
    "assistant:",
)


@pytest.fixture
def options() -> dict[str, Any]:
    return {"calls": FORM}


def asked(client: openai.OpenAI, question: str, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="mini", messages=messages, tools=[TOOL], **more)


def test_a_call_and_its_result_go_there_and_back(server: Running, client: openai.OpenAI) -> None:
    [choice] = asked(client, f"Let me see. {CALL}").choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "zoom")
    assert json.loads(call.function.arguments) == {"seconds": [1, 2.5]}
    messages: Any = [
        USER,
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "A star."},
    ]
    reply = client.chat.completions.create(model="mini", messages=messages, tools=[TOOL])
    assert reply.choices[0].message.content == "A star. "
    assert reply.choices[0].finish_reason == "stop"


def test_a_stream_has_text_as_it_comes_and_calls_whole(client: openai.OpenAI) -> None:
    chunks = [*asked(client, f"Let me see. {CALL} {CALL}", stream=True)]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas).split() == ["Let", "me", "see."]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 1]
    assert len({call.id for call in calls}) == 2
    for call in calls:
        assert call.function is not None
        assert json.loads(call.function.arguments or "") == {"seconds": [1, 2.5]}
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "tool_calls"
    with client.chat.completions.stream(
        model="mini", messages=[{"role": "user", "content": CALL}], tools=[TOOL]
    ) as stream:
        final = stream.get_final_completion().choices[0].message
    assert not final.content
    assert final.tool_calls is not None
    assert final.tool_calls[0].function.name == "zoom"


@pytest.mark.parametrize(
    "text",
    [
        "No call.",
        "<tool_call> {broken </tool_call> and more",
        '<tool_call> {"a": 1}',
        'I see. <tool_call> {"a": 1}',
        "I see <tool <tool_call> {broken </tool_call>",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_call_is_text(client: openai.OpenAI, text: str, stream: bool) -> None:
    reply = asked(client, text, stream=stream)
    if stream:
        chunks = [chunk.choices[0] for chunk in reply]
        said = "".join(chunk.delta.content or "" for chunk in chunks)
        reason = chunks[-1].finish_reason
    else:
        said, reason = reply.choices[0].message.content, reply.choices[0].finish_reason
    assert said.strip() == text
    assert reason == "stop"


def test_a_call_that_is_cut_behind_another_is_text(client: openai.OpenAI) -> None:
    [choice] = asked(client, f'One. {CALL} <tool_call> {{"name"').choices
    assert choice.message.content == 'One. <tool_call> {"name" '
    assert len(choice.message.tool_calls) == 1


def test_each_of_several_answers_has_its_calls(client: openai.OpenAI) -> None:
    reply = asked(client, CALL, n=2, temperature=1.0)
    ids = {call.id for choice in reply.choices for call in choice.message.tool_calls}
    assert len(ids) == 2


def test_no_tools_no_calls(client: openai.OpenAI, server: Running) -> None:
    for more in ({"tool_choice": "none", "tools": [TOOL]}, {}):
        messages: Any = [{"role": "user", "content": CALL}]
        reply = client.chat.completions.create(model="mini", messages=messages, **more)  # type: ignore[call-overload]
        assert reply.choices[0].message.content == f"{CALL} "
        assert reply.choices[0].message.tool_calls is None


def test_a_model_without_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [
        USER,
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        USER,
    ]
    with running(monkeypatch) as server:
        for more in ({"tools": [TOOL]}, {"messages": messages}):
            status, reply = server.ask("What?", **more)
            assert (status, reply["error"]["param"]) == (400, "tools")
            assert "mini can't call tools" in reply["error"]["message"]
        assert server.ask("What?", tools=[TOOL], tool_choice="none")[0] == 200


def called(**more: Any) -> dict[str, Any]:
    function = {"name": "zoom", "arguments": '{"seconds": [1]}'}
    return {"role": "assistant", "tool_calls": [{"id": "c", "function": function} | more]}


RESULT = {"role": "tool", "tool_call_id": "c", "content": "A star."}


def test_the_turns_are_the_messages_of_the_template() -> None:
    request = read([USER, called(), RESULT, RESULT | {"tool_call_id": "d"}], tools=[TOOL])
    [(first, answer)] = request.history
    assert first == "What?"
    assert isinstance(answer, ToolTurn)
    function = {"name": "zoom", "arguments": {"seconds": [1]}}
    assert answer.messages == [
        {
            "role": "assistant",
            "content": [],
            "tool_calls": [{"type": "function", "function": function, "id": "c"}],
        }
    ]
    assert isinstance(request.question, ToolTurn)
    results = [(one["role"], one["tool_call_id"]) for one in request.question.messages]
    assert results == [("tool", "c"), ("tool", "d")]
    assert request.question == "A star.\nA star."
    assert request.tools == (TOOL,)


def test_a_message_behind_a_result_is_one_of_its_own() -> None:
    request = read([USER, called(), RESULT, {"role": "user", "content": "Sure?"}])
    assert isinstance(request.question, ToolTurn)
    assert [one["role"] for one in request.question.messages] == ["tool", "user"]
    assert request.tools == ()


@pytest.mark.parametrize(
    ("messages", "more", "parameter"),
    [
        ([USER], {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ([USER], {"tools": [{"type": "function"}]}, "tools[0].function"),
        ([USER], {"tools": [TOOL] * 129}, "tools"),
        ([USER], {"tools": [TOOL], "guided_choice": ["a", "b"]}, "tools"),
        ([USER, RESULT], {}, None),
        ([RESULT], {}, None),
        ([USER, {"role": "assistant", "content": "x"}, RESULT], {}, None),
        ([USER, called(), RESULT | {"tool_call_id": None}], {}, "messages[2].tool_call_id"),
        ([USER, called(function={"name": "f", "arguments": "[]"}), RESULT], {},
         "messages[1].tool_calls[0].function.arguments"),
        ([USER, called(type="custom"), RESULT], {}, "messages[1].tool_calls[0].type"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_said(messages: Any, more: dict[str, Any], parameter: Any) -> None:
    with pytest.raises(Refused) as caught:
        read(messages, **more)
    assert (caught.value.status, caught.value.parameter) == (400, parameter)
