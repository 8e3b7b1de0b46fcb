"""`--json`: one object on stdout for each question, whatever happens."""

from __future__ import annotations

import pytest

from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here
from tests.documents import valid

pytestmark = pytest.mark.usefixtures("fake")


def test_stderr_has_nothing_but_the_note() -> None:
    assert run_here("ask", CLIP, "What?", "--json", "--model", "mini").err == ""
    assert len(run_here("ask", CLIP, "What?", "--json").err.splitlines()) == 1
    assert run_here("ask", CLIP, "What?", "--json", "--quiet").err == ""


UNEXPECTED = "something unexpected went wrong (KeyError: 'no such [bold]thing[/bold]')"


@pytest.mark.parametrize(
    ("failure", "code", "exit_code", "sentence"),
    [
        ("memory", "out_of_memory", 5, "memory ran out; use fewer frames"),
        ("torch_cpu", "out_of_memory", 5, "memory ran out; use fewer frames"),
        ("disk", "output_failed", 6, "the disk is full at /somewhere"),
        ("bug", "failed", 1, UNEXPECTED),
        ("model", "model_unavailable", 4, "there is no model 'mini'"),
    ],
)
def test_failure_leaves_an_object_for_each_question(
    fake: Fake, failure: str, code: str, exit_code: int, sentence: str
) -> None:
    fake.failure = failure
    run = run_here("ask", CLIP, "One?", "-q", "Two?", "--json")
    assert run.code == exit_code
    assert [document["question"] for document in run.objects] == ["One?", "Two?"]
    for document in run.objects:
        valid(document, "answer", "error")
        assert document["error"]["code"] == code
    text = run_here("ask", CLIP, "What?", "--model", "mini")
    assert (text.code, text.out) == (exit_code, "")
    assert text.err.startswith(f"Error: {sentence}")
    assert len(text.err.splitlines()) == 1


def test_what_was_answered_before_a_failure_stays() -> None:
    run = run_here("ask", CLIP, "One?", "-q", "memory", "-q", "Three?", "--json")
    assert run.code == 5
    valid(run.objects[0], "answer", "answer")
    assert [("answer" in document) for document in run.objects] == [True, False, False]
