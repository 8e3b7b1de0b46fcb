"""What is read of a server's answer, whatever the server reports beside it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dycoke_cli.answer.answer import Answer, Seconds, Tokens
from dycoke_cli.answer.json_schema import keys
from dycoke_cli.compression.registry import create, described
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.runs.remote.remote_client import RemoteClient
from dycoke_cli.runs.remote.remote_client import ServerResponse as RemoteReply
from dycoke_cli.runs.remote.served_model import (
    NO_VIDEO,
    SentVideo,
    ServedModel,
    Server,
    _seconds,
    as_images,
    as_video,
    asked_for,
    replied,
)
from tests.documents import example, valid
from tests.forms import NEEDS_LIBRARY, an_object, form_of
from tests.runs.remote.endpoint import Endpoint, Reply, said, serving
from tests.runs.remote.endpoint import asked as asked_of

Served = tuple[Endpoint, ServedModel]
# What is counted and measured on this side, whatever the server reports.
OWN_TOKENS = {"generated", "prompt"}
OWN_SECONDS = {"load", "video_decode", "first_token", "request", "total"}
TOKENS = {name: n for n, name in enumerate(keys(Tokens), 20)}
SECONDS = {name: n / 8 for n, name in enumerate(keys(Seconds), 20)}
KEYS = [
    *(("tokens", name) for name in TOKENS.keys() - OWN_TOKENS),
    *(("seconds", name) for name in SECONDS.keys() - OWN_SECONDS),
]
WRONG = [None, "7", True, -1, [1], {"a": 1}, math.nan, math.inf, 2**63, 10**400]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as endpoint:
        client = RemoteClient(endpoint.url, "NO_KEY")
        yield endpoint, ServedModel(Server(endpoint.url), "seen", client)


def asked(served: Served, told: Any) -> Answer:
    """The answer of a server that has this under `usage.dycoke`, once the schema has taken it."""

    def reply(body: dict[str, Any]) -> Reply:
        status, answer = said(body)
        answer["usage"]["dycoke"] = told
        return status, answer

    endpoint, model = served
    endpoint.reply = reply
    answer = model.ask("What?", (), NO_VIDEO, None, GenerationOptions(temperature=1))
    frames = example(type(answer.frames))
    valid(replace(answer, video="a.mp4", frames=frames).to_dict(), "answer", "answer")
    return answer


def read(answer: Answer) -> dict[str, dict[str, Any]]:
    """The figures that the server reported."""
    return {
        part: {name: getattr(getattr(answer, part), name) for of, name in KEYS if of == part}
        for part in ("tokens", "seconds")
    }


ALL = {
    "tokens": {name: TOKENS[name] for part, name in KEYS if part == "tokens"},
    "seconds": {name: SECONDS[name] for part, name in KEYS if part == "seconds"},
}


def test_all_that_is_known_is_read_and_the_rest_ignored(served: Served) -> None:
    told = {"tokens": TOKENS | {"more": [1]}, "seconds": SECONDS | {"more": 1}, "more": {"a": 1}}
    answer = asked(served, told)
    assert read(answer) == ALL
    assert (answer.tokens.generated, answer.tokens.prompt) == (7, 140)  # of `usage` itself
    assert answer.seconds.load is None
    assert answer.seconds.total == answer.seconds.request > 0
    assert answer.decode is answer.flops is answer.bytes is answer.tokens_per_second is None
    assert answer.remote


@pytest.mark.parametrize(("part", "name"), sorted(KEYS), ids=str)
def test_a_figure_that_is_missing_or_no_number_is_null_alone(
    served: Served, part: str, name: str
) -> None:
    expected = {**ALL, part: ALL[part] | {name: None}}
    for value in WRONG:
        told = {**ALL, part: ALL[part] | {name: value}}
        assert read(asked(served, told)) == expected, value
    del told[part][name]
    assert read(asked(served, told)) == expected


@pytest.mark.parametrize("value", [None, [], "text", 7, math.nan])
def test_a_part_that_is_no_object_is_null_alone(served: Served, value: object) -> None:
    nothing = {part: dict.fromkeys(ALL[part]) for part in ALL}
    assert read(asked(served, value)) == nothing
    for part in ALL:
        assert read(asked(served, ALL | {part: value})) == {**ALL, part: nothing[part]}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("method", {"name": "evs", "retain": 0.5}, described(create("evs", retain=0.5))),
        ("method", {"name": "evs", "retain": math.nan}, None),
        ("method", {"name": "evs", "retain": "much"}, None),
        ("method", {"name": "evs", "retain": {"deep": 1}}, None),
        ("method", {"name": "evs", "of_a_later_version": 1}, None),
        ("method", {"name": "of-a-later-version"}, None),
        ("method", {"retain": 0.5}, None),
        ("method", {"name": 7}, None),
        ("method", "evs", None),
        ("method", {"name": "x" * 10**5}, None),
        ("warnings", ["a"] * 5001, ("a",) * 100),
        ("warnings", ["a" * 10**5], ("a" * 2000,)),
        ("seed", 7, 7),
        ("seed", math.nan, None),
        ("seed", -1, None),
        ("seed", True, None),
        ("warnings", ["dark", 7, math.nan], ("dark",)),
        ("warnings", {"dark": 1}, ()),
    ],
)
def test_what_else_a_server_reports(
    served: Served, key: str, value: object, expected: object
) -> None:
    answer = asked(served, {**ALL, key: value})
    assert getattr(answer, key) == expected
    assert read(answer) == ALL


def body_of(
    model: ServedModel,
    question: str,
    video: SentVideo,
    spec: str | None,
    history: tuple[tuple[str, str], ...] = (),
) -> Any:
    return model._body(question, history, video, GenerationOptions(max_tokens=3), spec)


def test_a_request_has_the_turns_and_the_video_before_the_first(served: Served) -> None:
    _, model = served
    frames = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    video = as_video(frames, (0.0, 1.0))
    history = (("First?", "one"), ("Second?", "two"))
    body = body_of(model, "Third?", video, "evs", history)
    turns = [(turn["role"], turn["content"]) for turn in body["messages"]]
    first, *others = turns
    assert first == ("user", [*video.parts, {"type": "text", "text": "First?"}])
    assert others == [
        ("assistant", "one"),
        ("user", [{"type": "text", "text": "Second?"}]),
        ("assistant", "two"),
        ("user", [{"type": "text", "text": "Third?"}]),
    ]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("seen", 3, 0)
    assert "seed" not in body
    assert body["extra_body"]["dycoke"] == {"method": "evs"}
    assert body["extra_body"]["mm_processor_kwargs"] == {"dycoke": "evs"}
    plain = body_of(model, "?", video, None)["extra_body"]
    assert plain.keys() == {"media_io_kwargs"}
    assert body_of(model, "?", NO_VIDEO, "evs")["extra_body"] == {}
    seeded = GenerationOptions(seed=7, temperature=0.5)
    assert model._body("?", (), NO_VIDEO, seeded, None)["seed"] == 7


def test_pictures_are_jpegs_of_high_quality() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    [part] = as_images(frames, (0.0,)).parts
    sent = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    stock = io.BytesIO()
    Image.fromarray(frames[0]).save(stock, "JPEG", quality=95, subsampling=0)
    assert sent == stock.getvalue()


def test_only_servers_that_know_methods_are_sent_one(served: Served) -> None:
    endpoint, model = served
    bodies: list[dict[str, Any]] = []

    def reply(body: dict[str, Any]) -> Reply:
        bodies.append(body)
        status, answer = said(body)
        answer["usage"]["dycoke"] = {"seed": 7}  # which means nothing for greedy answers
        return status, answer

    endpoint.reply = reply
    video = as_video(np.zeros((1, 8, 8, 3), np.uint8), (0.0,))
    for sends in (False, True):
        sender = replace(model, sends_method=sends)
        answer = sender.ask("?", (), video, create("evs", retain=0.5), GenerationOptions())
        assert ("dycoke" in bodies[-1]) == sends
        assert answer.method == described(create("evs", retain=0.5))
        assert answer.seed is None
        probes = len(endpoint.probes)
        sender.check(create("evs"))
        sender.check(create("none"))
        assert len(endpoint.probes) - probes == int(sends)


def test_a_plan_has_the_servers_model_and_no_cautions_of_this_machine() -> None:
    request = replace(BUNDLED, cautions=("other frames",))
    for names_method in (True, False):
        server = Server("http://localhost:9/v1", names_method=names_method)
        client: Any = None
        plan = ServedModel(server, "seen", client).plan(request)
        served = plan.request
        assert (served.model, served.cautions) == ("seen", ())
        assert plan.identity == {"name": "seen", "served": True, "own_method": not names_method}


def test_times_of_a_streamed_answer_begin_with_the_decoding() -> None:
    reply = RemoteReply(first_s=0.5, seconds=2.0)
    seconds = _seconds(reply, {"total": 99.0, "prefill": 0.25}, 3.0)
    assert (seconds.video_decode, seconds.first_token, seconds.total) == (3, 3.5, 5)
    assert (seconds.request, seconds.prefill, seconds.load) == (2, 0.25, None)
    assert _seconds(RemoteReply(seconds=2.0), None, 3.0).first_token is None


@pytest.mark.parametrize("streams", [True, False])
def test_text_and_reason_come_whether_a_server_streams_or_not(
    served: Served, streams: bool
) -> None:
    endpoint, model = served

    def reply(body: dict[str, Any]) -> Reply:
        status, answer = said(body, " one two")
        answer["choices"][0]["finish_reason"] = "length" if asked_of(body) == "Long?" else "stop"
        return status, answer

    endpoint.reply, endpoint.streams = reply, streams
    try:
        for question, reason in (("Long?", "length"), ("Short?", "stop")):
            texts: list[str] = []
            answer = model.ask(question, (), NO_VIDEO, None, GenerationOptions(), texts.append)
            assert "".join(texts).split() == ["one", "two"]
            assert (answer.answer.split(), answer.finish_reason) == (["one", "two"], reason)
            assert (answer.seconds.first_token is not None) == streams
    finally:
        endpoint.streams = True


def test_a_refusal_for_another_reason_tells_nothing_of_methods(served: Served) -> None:
    _, model = served
    assert model.knows_methods()
    assert not model.client.refuses(model._probe("is-this-dycoke"), "a word that isn't there")


@NEEDS_LIBRARY
def test_a_form_is_the_servers_to_keep() -> None:
    text = GenerationOptions(structured=StructuredOutput("regex", "[0-9]"))
    assert asked_for(text) == {"structured_outputs": {"regex": "[0-9]"}}
    assert replied(text, "3", "stop", None) == {}
    number = GenerationOptions(structured=form_of(n="integer"))
    schema = asked_for(number)["response_format"]["json_schema"]["schema"]
    assert schema == an_object(n={"type": "integer"})
    assert replied(number, '{"n": 3}', "stop", None) == {"parsed": {"n": 3}}
