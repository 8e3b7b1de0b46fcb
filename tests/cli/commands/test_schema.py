"""`dycoke schema`: each document that is printed fits its schema, and what is none doesn't."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest

from dycoke_cli.cli.commands.schema import DOCUMENTS, read_schema
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here
from tests.documents import is_valid, valid

OF_A_BATCH = {"id": "7", "key": "0" * 32, "digest": "a" * 64}


# What other programs read; more keys may come, none of these goes or gets another name.
PROMISED = {
    "": "schema version video question answer finish_reason seed model method frames tokens decode "
    "flops seconds tokens_per_second bytes warnings compared_to",
    "model": "name revision dtype device",
    "frames": "count timestamps_s",
    "tokens": "visual visual_kept visual_active_in_decode visual_read_per_step text generated",
    "decode": "steps choices_renewed tokens_evicted tokens_recalled",
    "flops": "prefill decode uncompressed",
    "seconds": "load video_decode vision prefill first_token decode total",
    "bytes": "weights kv_cache kv_active read_per_token peak_working peak_total",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_is_a_schema_and_printed(name: str) -> None:
    run = run_here("schema", name)
    assert (run.code, run.err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(json.loads(run.out))
    assert json.loads(run.out) == read_schema(name)


def test_without_a_name_they_are_listed() -> None:
    run = run_here("schema")
    assert (run.code, run.err) == (0, "")
    assert [line.split()[0] for line in run.out.splitlines()] == list(DOCUMENTS)


def test_another_name_is_refused() -> None:
    refusal = run_here("schema", "answers").refusal
    assert "there is no schema 'answers'; there is one of answer, batch, bench, cache" in refusal


@pytest.mark.parametrize(
    ("name", "part", "arguments"),
    [
        ("answer", "error", ["ask", CLIP, "What?", "--nosuch"]),
        ("cache", "cache", ["cache"]),
        ("doctor", "error", ["doctor", "--nosuch"]),
        ("error", "error", ["nosuch"]),
        ("methods", "error", ["methods", "fast"]),
        ("models", "models", ["models"]),
        ("models", "models", ["models", "info", "mini"]),
        ("models", "models", ["models", "info", "someone/something"]),
        ("models", "error", ["models", "info", "mimi"]),
        ("probe", "video", ["probe", CLIP]),
        ("probe", "error", ["probe", CLIP, "--frames", "0"]),
        ("verify", "error", ["verify", "mimi"]),
    ],
    ids=str,
)
def test_what_is_printed_fits(name: str, part: str, arguments: list[str]) -> None:
    document = run_here(*arguments, "--json").object
    valid(document, name)
    valid(document, name, part)


def test_keys_that_were_promised_are_there(answer: dict[str, Any]) -> None:
    for part, keys in PROMISED.items():
        assert set(keys.split()) <= set(answer[part] if part else answer), part
    assert list(answer)[:4] == ["schema", "version", "video", "question"]
    assert answer["compared_to"].keys() == answer.keys() - {"compared_to"}


def test_a_line_of_a_batch_needs_its_keys(answer: dict[str, Any]) -> None:
    del answer["compared_to"]
    assert is_valid(answer | OF_A_BATCH, "batch")
    for key in OF_A_BATCH:
        others = {name: value for name, value in OF_A_BATCH.items() if name != key}
        assert not is_valid(answer | others, "batch")
        assert not is_valid(answer | others, "answer")


@pytest.fixture
def answer(fake: Fake) -> dict[str, Any]:
    return run_here("ask", CLIP, "What?", "--json", "--compare").object


def test_answers_with_and_without_the_keys_of_a_batch(answer: dict[str, Any]) -> None:
    assert is_valid(answer, "answer")
    assert is_valid(answer | OF_A_BATCH, "answer")
    assert is_valid(answer | OF_A_BATCH | {"id": None, "digest": None}, "answer")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["seed"], -1),
        (["more"], 1),
        (["tokens", "visual"], 1.5),
        (["finish_reason"], "tired"),
        (["method", "name"], "mine"),
        (["method", "merge_ratio"], 1),
        (["frames", "count"], 0),
        (["compared_to", "answer"], None),
        (["error"], {"code": "failed", "message": "both"}),
        (["key"], "0" * 32),  # without what belongs to it
        (["schema"], "dycoke.answer/2"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) else "",
)
def test_what_is_no_answer(answer: dict[str, Any], path: list[str], value: object) -> None:
    broken = copy.deepcopy(answer)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not is_valid(broken, "answer")


def test_every_key_of_an_answer_is_needed(answer: dict[str, Any]) -> None:
    for key in set(answer) - {"compared_to"}:
        assert not is_valid({k: v for k, v in answer.items() if k != key}, "answer"), key
    del answer["method"]["window"]
    assert not is_valid(answer, "answer")
