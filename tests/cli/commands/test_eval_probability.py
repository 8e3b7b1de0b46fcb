"""`eval --by probability`: both ways of answering in one report, also resumed and merged."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli import DyCoke, Sampling, TypedOptions, VideoSession, load, read
from dycoke_cli.evaluation.datasets.shapes import Shapes
from tests.cli.harness import run_here

# Of the two videos' questions few are multiple choice, and all are asked: with little to read.
SHORT = ("--frames", "4", "--max-new-tokens", "2")
WORDS = ("eval", "shapes", "--split", "validation", "--methods", "none,dycoke", "--quiet", *SHORT)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run about two videos."""
    out = tmp_path_factory.mktemp("eval") / "both"
    run = run_here(
        *WORDS, "--by", "probability", "--limit", "2", "--dtype", "float32", "--out", out
    )
    assert run.code == 0, run.err
    assert "multiple-choice questions: letters of generated answers" in run.out
    return out


@pytest.mark.extended
@pytest.mark.slow
def test_probabilities_are_those_of_a_typed_question(done: Path) -> None:
    items = [one for one in Shapes().items("validation", 2) if one.letters]
    model, sure, correct = load("mini", dtype="float32"), [], 0
    for item in items:
        session = VideoSession(model, read(Shapes().file(item.video), Sampling(frames=4)))
        typed = TypedOptions(item.letters)
        answer = session.ask(item.question, DyCoke(), typed=typed, history=item.history)
        sure.append(max(answer.probabilities.values()))
        correct += answer.choice == item.answer
    report = run_here("eval", "report", done, "--json").object
    _, row = report["rows"]
    found = row["probability"]
    assert found["questions"] == len(items) == 2
    assert found["accuracy"] == correct / len(items)
    assert found["confidence"] == pytest.approx(sum(sure) / len(items), abs=1e-3)
    letters = row["by_type"]["letter"]
    assert (found["generated_accuracy"], found["questions"]) == (
        letters["accuracy"],
        letters["questions"],
    )


@pytest.mark.slow
def test_a_second_run_asks_nothing_again_and_letters_alone_have_no_column(done: Path) -> None:
    flags = ("--limit", "2", "--dtype", "float32", "--out", done, "--json")
    again = run_here(*WORDS, "--by", "probability", *flags)
    assert again.code == 0
    assert all(row["probability"] for row in again.object["rows"])
    alone = run_here(*WORDS, *flags)
    assert [row["probability"] for row in alone.object["rows"]] == [None, None]
    assert alone.object["rows"][1]["accuracy"] == again.object["rows"][1]["accuracy"]


def test_a_benchmark_without_multiple_choice_is_refused(tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"video": "a.mp4", "question": "What?", "answer": "A star."}\n')
    (tmp_path / "a.mp4").touch()
    run = run_here("eval", questions, "--by", "probability", "--model", "mini")
    assert "--by probability is for multiple choice, of which" in run.refusal
