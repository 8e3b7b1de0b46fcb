"""`/v1/responses` by OpenAI's client, with a pretended model: replies, events, conversations."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any
from unittest.mock import Mock

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.server.limits import Recent, size_of
from dycoke_cli.server.messages import JpegTimes, VideoPart
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.replies import ParsedAnswer
from dycoke_cli.server.responses import (
    HeldResponse,
    ResponsesRequest,
    parse_responses,
)
from dycoke_cli.video.sampling import Sampling
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import VIDEO, Running
from tests.server.test_chat_request import DEFAULTS, MOST

PATH = "/v1/responses"
SHOWN = {"type": "video_url", "video_url": {"url": VIDEO}}


def asked(question: str) -> list[Any]:
    return [{"role": "user", "content": [SHOWN, {"type": "input_text", "text": question}]}]


def read(given: Any, **more: Any) -> ResponsesRequest:
    body = json.dumps({"input": given, **more}).encode()
    return parse_responses(body, DEFAULTS, MOST, {}.get)


def test_an_answer(client: openai.OpenAI) -> None:
    reply = client.responses.create(
        model="mini", input=asked("What happens?"), metadata={"a": "b"}, max_output_tokens=7
    )
    assert isinstance(reply, Response)
    assert (reply.output_text, reply.status, reply.model) == ("What happens? ", "completed", "mini")
    assert (reply.metadata, reply.max_output_tokens) == ({"a": "b"}, 7)
    usage: Any = reply.usage
    assert (usage.input_tokens, usage.output_tokens) == (8 * 4 + 5, 3)
    assert usage.input_tokens_details.video_tokens == 8 * 4
    assert usage.dycoke["method"]["name"] == "none"
    assert client.responses.create(model="mini", input="Hello?").output_text == "Hello? "


def test_a_budget_of_visual_tokens_holds_for_the_conversation() -> None:
    first = read(asked("What?"), dycoke={"max_tokens": 448})
    assert first.chat.max_tokens == 448
    held = first.held(Mock(answer="A star."), ParsedAnswer(None))
    assert held.max_tokens == 448

    def next_one(**more: Any) -> ResponsesRequest:
        body = {"input": "Why?", "previous_response_id": "r1", **more}
        return parse_responses(json.dumps(body).encode(), DEFAULTS, MOST, {"r1": held}.get)

    assert next_one().chat.max_tokens == 448
    assert next_one(dycoke={"max_tokens": None}).chat.max_tokens is None
    with pytest.raises(Refused, match=r"the whole video at once, and dycoke\.max_tokens"):
        read(asked("What?"), dycoke={"max_tokens": 448, "method": "maxmin"})


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


def test_a_conversation_goes_on_with_its_video(server: Running, client: openai.OpenAI) -> None:
    """The video is read once, with the first request's frames; instructions hold for one alone."""
    first = client.responses.create(
        model="mini",
        input=asked("What?"),
        instructions="Be brief.",
        extra_body={"media_io_kwargs": {"video": {"num_frames": 4}}},
    )
    second = client.responses.create(
        model="mini", input="Why?", previous_response_id=first.id, stream=True
    )
    created, *_, completed = second
    assert created.type == "response.created"
    assert created.response.previous_response_id == first.id
    assert completed.type == "response.completed"
    third = client.responses.create(
        model="mini", input="Where?", previous_response_id=completed.response.id
    )
    assert third.output_text == "Where? "
    assert [one[0] for one in server.pretended.batches] == ["Be brief.\n\nWhat?", "Why?", "Where?"]
    assert server.pretended.histories[1:] == [
        (("What?", "Be brief.\n\nWhat? "),),
        (("What?", "Be brief.\n\nWhat? "), ("Why?", "Why? ")),
    ]
    assert server.pretended.read == [4]


def test_what_is_not_held(server: Running, client: openai.OpenAI) -> None:
    unheld = client.responses.create(model="mini", input="What?", store=False)
    for previous in (unheld.id, "resp_nothing"):
        with pytest.raises(openai.NotFoundError, match="isn't held") as caught:
            client.responses.create(model="mini", input="Why?", previous_response_id=previous)
        assert caught.value.param == "previous_response_id"
    held = client.responses.create(model="mini", input=asked("What?"))
    server.service.engine.free()
    with pytest.raises(openai.NotFoundError, match="send it again"):
        client.responses.create(model="mini", input="Why?", previous_response_id=held.id)


def test_pictures_are_the_frames_of_one_video() -> None:
    urls = [f"data:image/jpeg;base64,/9j/{number}" for number in range(3)]
    pictures = [{"type": "input_image", "detail": "auto", "image_url": url} for url in urls]
    text = {"type": "input_text", "text": "What?"}
    request = read([{"type": "message", "role": "user", "content": [*pictures, text]}])
    [video] = request.chat.videos
    assert video.pictures == tuple(urls)
    assert video.uuid == f"{request.id}/0"


def test_the_output_of_a_reply_goes_back_as_it_came(client: openai.OpenAI) -> None:
    """Clients that hold a conversation themselves send the items of earlier replies."""
    reply = client.responses.create(model="mini", input="What?")
    given = [{"role": "user", "content": "What?"}, *(item.to_dict() for item in reply.output)]
    request = read([*given, {"role": "user", "content": "Why?"}])
    assert (request.chat.history, request.chat.question) == ((("What?", "What? "),), "Why?")


@pytest.mark.parametrize(
    ("given", "more", "name"),
    [
        ("What?", {"background": True}, "background"),
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
        read(given, **more)
    assert caught.value.status == 400
    assert str(caught.value.parameter).endswith(name)


def test_log_probabilities_are_asked_for_by_include() -> None:
    include = ["message.output_text.logprobs"]
    for more, likeliest in (({}, 0), ({"top_logprobs": 4}, 4)):
        tokens = read("What?", include=include, **more).chat.generation.tokens
        assert tokens is not None
        assert tokens.top_logprobs == likeliest
    assert read("What?").chat.generation.tokens is None


def test_what_is_held_is_limited() -> None:
    """By number and by bytes; the least recently used go first."""

    def held(size: int) -> HeldResponse:
        video = VideoPart(None, "v")
        return HeldResponse((("x" * size, ""),), (video,), Sampling(), JpegTimes())

    store = Recent[HeldResponse](3, 3 * size_of(held(10)))
    for number in range(3):
        store.keep(f"r{number}", held(10))
    assert store.find("r0") is not None
    store.keep("r3", held(10))
    assert [store.find(f"r{n}") is not None for n in range(4)] == [True, False, True, True]
    store.keep("r4", held(20 + size_of(held(0))))
    assert [store.find(f"r{n}") is not None for n in range(5)] == [False, False, False, True, True]
    most = 30 + 2 * size_of(held(0))
    store.keep("r5", held(most + 1))
    assert store.find("r5") is None
    store.keep("r6", held(most))
    assert store.find("r6") is not None
    # Many short texts, handles and times of pictures take memory, too.
    tracemalloc.start()
    pictures = VideoPart(None, "v" * 1000, times_s=tuple(float(n) for n in range(1000)))
    times = JpegTimes(indices=tuple(range(1000, 2000)))
    turns = tuple((str(n), chr(0x1F600) * 9) for n in range(1000))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken <= size_of(HeldResponse(turns, (pictures,), Sampling(), times)) < 2 * taken


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
    chat = read(text, text={"format": reply.text.format.to_dict()}).chat
    assert chat.generation.structured is not None
    assert json.loads(chat.generation.structured.definition) == reply.text.format.schema_


@NEEDS_LIBRARY
def test_the_form_of_text() -> None:
    for given in (
        None,
        {},
        {"format": None},
        {"format": {"type": "text"}},
        {"verbosity": "medium"},
    ):
        assert read("What?", text=given).chat.generation.structured is None
    found = read("What?", text={"format": {"type": "json_object"}}).chat.generation.structured
    assert found == StructuredOutput("json", '{"type": "object"}')
    with pytest.raises(Refused, match=r"text\.format or structured_outputs\.regex, not both"):
        read("?", text={"format": {"type": "json_object"}}, structured_outputs={"regex": "a"})


def test_no_effort_turns_thinking_off() -> None:
    request = read("What?", reasoning={"effort": "none"})
    assert request.chat.template == (("reasoning.effort", "enable_thinking", False),)
    assert read("What?", reasoning={}).chat.template == read("What?").chat.template == ()
