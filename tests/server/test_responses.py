"""`/v1/responses` by OpenAI's client, with a pretended model: replies, events, conversations."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.server.refused import Refused
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import VIDEO, Running
from tests.server.requests import read_responses

PATH = "/v1/responses"
SHOWN = {"type": "video_url", "video_url": {"url": VIDEO}}


def asked(question: str) -> list[Any]:
    return [{"role": "user", "content": [SHOWN, {"type": "input_text", "text": question}]}]


def test_an_answer(client: openai.OpenAI) -> None:
    reply = client.responses.create(
        model="mini", input=asked("What happens?"), metadata={"a": "b"}, max_output_tokens=7
    )
    assert isinstance(reply, Response)
    assert (reply.output_text, reply.status, reply.model) == ("What happens? ", "completed", "mini")
    assert (reply.metadata, reply.max_output_tokens) == ({"a": "b"}, 7)
    usage: Any = reply.usage
    assert (usage.input_tokens, usage.output_tokens) == (8 * 16 + 1, 3)
    assert usage.input_tokens_details.video_tokens == 8 * 16
    assert usage.dycoke["method"]["name"] == "none"
    assert reply.store is False
    assert client.responses.create(model="mini", input="Hello?").output_text == "Hello? "


def test_a_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model="mini", input=asked("one two three")) as stream:
        events = [*stream]
        whole = stream.get_final_response()
    assert whole.output_text == "one two three "
    assert [event.delta for event in events if event.type == "response.output_text.delta"] == [
        "one ", "two ", "three "
    ]  # fmt: skip
    kinds = [event.type for event in events if "delta" not in event.type]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    numbers = [event.sequence_number for event in events]
    assert numbers == [*range(len(numbers))]
    ids = {event.item_id for event in events if hasattr(event, "item_id")}
    assert ids == {whole.output[0].id}


def test_an_error_in_a_stream(client: openai.OpenAI) -> None:
    *_, last = client.responses.create(model="mini", input=asked("bug"), stream=True)
    assert last.type == "error"
    assert (last.code, last.message[:20]) == ("failed", "something went wrong")


def test_instructions_stand_before_the_first_question() -> None:
    items = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
             {"role": "user", "content": "c"}]  # fmt: skip
    request = read_responses(items, instructions="Be brief.")
    assert (request.history, request.question) == ((("Be brief.\n\na", "b"),), "c")
    assert read_responses("What?", instructions=None).question == "What?"


def test_the_output_of_a_reply_goes_back_as_it_came(client: openai.OpenAI) -> None:
    """Clients that hold a conversation themselves send the items of earlier replies."""
    reply = client.responses.create(model="mini", input="What?")
    given = [{"role": "user", "content": "What?"}, *(item.to_dict() for item in reply.output)]
    request = read_responses([*given, {"role": "user", "content": "Why?"}])
    assert (request.history, request.question) == ((("What?", "What? "),), "Why?")


@pytest.mark.parametrize(
    ("given", "more", "name"),
    [
        ("What?", {"background": True}, "background"),
        ("What?", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("What?", {"dycoke": {"video_tokens": 0}}, "dycoke.video_tokens"),
        ("What?", {"max_output_tokens": True}, "max_output_tokens"),
        ([{"role": "user", "content": 3}], {}, "input[0].content"),
        ([{"type": "function_call", "name": "f"}], {}, "input[0]"),
        ("What?", {"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ("What?", {"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ("What?", {"max_tokens": 5}, "max_tokens"),
        ("What?", {"n": 2}, "n"),
        ("What?", {"include": ["file_search_call.results"]}, "include"),
        ("What?", {"top_logprobs": 2}, "top_logprobs"),
        ("What?", {"metadata": 3}, "metadata"),
        ([{"type": "reasoning", "summary": []}], {}, "input[0]"),
        ([{"role": "tool", "content": "x"}], {}, "input[0]"),
        ([{"role": "user", "content": [{"type": "input_file"}]}], {}, "input[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], {}, "image_url"),
    ],
    ids=str,
)
def test_what_is_refused_is_named(given: Any, more: dict[str, Any], name: str) -> None:
    with pytest.raises(Refused) as caught:
        read_responses(given, **more)
    assert caught.value.status == 400
    assert str(caught.value.parameter).endswith(name)


class Star(BaseModel):
    colour: str
    points: int


@NEEDS_LIBRARY
@pytest.mark.parametrize("stream", [False, True])
def test_an_object_of_a_class_is_parsed(
    server: Running, client: openai.OpenAI, stream: bool
) -> None:
    """The pretended model answers with the question, which is such an object here."""
    text = Star(colour="red", points=5).model_dump_json()
    if stream:
        with client.responses.stream(model="mini", input=text, text_format=Star) as events:
            reply: Any = events.get_final_response()
    else:
        reply = client.responses.parse(model="mini", input=text, text_format=Star)
    assert reply.output_parsed == Star(colour="red", points=5)
    assert reply.text.format.type == "json_schema"
    assert reply.text.format.schema_["properties"].keys() == {"colour", "points"}
    chat = read_responses(text, text={"format": reply.text.format.to_dict()})
    assert json.loads(chat.request.generation.structured.definition) == reply.text.format.schema_


@NEEDS_LIBRARY
def test_the_form_of_text() -> None:
    for given in (
        None,
        {},
        {"format": None},
        {"format": {"type": "text"}},
        {"verbosity": "medium"},
    ):
        assert read_responses("What?", text=given).request.generation.structured is None
    found = read_responses(
        "What?", text={"format": {"type": "json_object"}}
    ).request.generation.structured
    assert found == StructuredOutput("json", '{"type": "object"}')
    with pytest.raises(Refused, match=r"text\.format or structured_outputs\.regex, not both"):
        read_responses(
            "?", text={"format": {"type": "json_object"}}, structured_outputs={"regex": "a"}
        )


def test_no_effort_turns_thinking_off() -> None:
    request = read_responses("What?", reasoning={"effort": "none"})
    assert request.template == (("reasoning.effort", "enable_thinking", False),)
    assert read_responses("What?", reasoning={}).template == read_responses("What?").template == ()
