"""What is read of a server's answer, whatever the server reports beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from dycoke_cli.answer.answer import Answer, Seconds, Tokens
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.runs.jobs import JobQuestion
from dycoke_cli.runs.remote.remote_client import RemoteClient
from dycoke_cli.runs.remote.sent_video import NO_VIDEO
from dycoke_cli.runs.remote.served_model import ServedModel, Server
from tests.documents import example, valid
from tests.runs.remote.endpoint import Endpoint, Reply, said, serving

Served = tuple[Endpoint, ServedModel]
# What is counted and measured on this side, whatever the server reports.
OWN_TOKENS = {"generated", "prompt"}
OWN_SECONDS = {"load", "video_decode", "first_token", "request", "total"}
TOKENS = {field.name: n for n, field in enumerate(fields(Tokens), 20)}
SECONDS = {field.name: n / 8 for n, field in enumerate(fields(Seconds), 20)}
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
    answer = model.ask(JobQuestion(None, "What?"), NO_VIDEO, None, GenerationOptions(temperature=1))
    frames = example(type(answer.frames))
    valid(replace(answer, video="a.mp4", frames=frames).to_dict(), "answer", "remote")
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
    assert not answer.refused


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
        ("method", {"name": "evs", "retain": 0.5}, {"name": "evs", "retain": 0.5}),
        ("method", {"name": "evs", "retain": math.nan}, None),
        ("method", {"name": "evs", "more": {"deep": 1}}, None),
        ("method", {"retain": 0.5}, None),
        ("method", {"name": 7}, None),
        ("method", "evs", None),
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
