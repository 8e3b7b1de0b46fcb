"""`dycoke schema`: the one schema of answers is a schema, and takes nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest

from . import answer_schema
from .fake_engine import FakeSession
from .harness import CLIP, run_here

CHECK = jsonschema.Draft202012Validator(answer_schema.ANY)
OF_A_BATCH = {"id": "7", "key": "0" * 32, "digest": "a" * 64}


def test_it_is_printed_as_it_is() -> None:
    run = run_here("schema", "answer")
    assert (run.code, run.err) == (0, "")
    assert json.loads(run.out) == answer_schema.ANY
    jsonschema.Draft202012Validator.check_schema(answer_schema.ANY)


def test_another_name_is_refused() -> None:
    run = run_here("schema", "answers")
    assert (run.code, run.out) == (2, "")
    assert "'answers' is not" in run.err


@pytest.fixture
def answer(fake: list[FakeSession]) -> dict[str, Any]:
    return run_here("ask", CLIP, "What?", "--json", "--compare").object


def test_answers_with_and_without_the_keys_of_a_batch(answer: dict[str, Any]) -> None:
    assert CHECK.is_valid(answer)
    assert CHECK.is_valid(answer | OF_A_BATCH)
    assert CHECK.is_valid(answer | OF_A_BATCH | {"id": None, "digest": None})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["seed"], -1),
        (["more"], 1),
        (["tokens", "visual"], 1.5),
        (["tokens", "more"], 1),
        (["finish_reason"], "tired"),
        (["model", "revision"], 7),
        (["method", "name"], "mine"),
        (["method", "more"], 1),
        (["method", "merge_ratio"], 1),
        (["method", "positions"], None),
        (["frames", "count"], 0),
        (["bytes", "peak_total"], "many"),
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
    assert not CHECK.is_valid(broken)


def test_every_key_of_an_answer_is_needed(answer: dict[str, Any]) -> None:
    for key in set(answer) - {"compared_to"}:
        assert not CHECK.is_valid({k: v for k, v in answer.items() if k != key}), key
    del answer["method"]["window"]
    assert not CHECK.is_valid(answer)
