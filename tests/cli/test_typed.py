"""Flags of typed questions: what reaches the engine, and what is refused before it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.answer.answer import Answer, Scoring
from dycoke_cli.answer.json_schema import SchemaVariant, schema_of
from dycoke_cli.cli.commands.batch_files import Lines
from dycoke_cli.cli.render.units import odds, scoring
from dycoke_cli.engine.generation_options import TypedOptions
from dycoke_cli.runs.batch_journal import Outcome
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here
from tests.documents import example, valid
from tests.runs.pretended import make_clips


def answered() -> Answer:
    """A score from 8 to 10."""
    how = Scoring(("8", "9", "10"), (-3.0, -1.0, -2.0), (2, 2, 3), True, True, 0.25, "It")
    return replace(
        example(Answer, video="v.mp4", answer="9", finish_reason="stop", method={"name": "none"}),
        choice="9",
        probabilities={"8": 0.2, "9": 0.5, "10": 0.3},
        margin=0.2,
        mean=9.1,
        scoring=how,
    )


@pytest.mark.parametrize(
    ("flags", "typed"),
    [
        (["--choices", "left, right"], TypedOptions(("left", "right"))),
        (["--yes-no"], TypedOptions(("yes", "no"))),
        (["--score", "1-3"], TypedOptions(("1", "2", "3"), is_score=True)),
    ],
)
def test_the_engine_gets_the_options(flags: list[str], typed: TypedOptions, fake: Fake) -> None:
    assert run_here("ask", CLIP, "What?", *flags).code == 0
    assert fake[0].asked[0]["typed"] == typed


WRONG = [
    (["--choices", "red,red"], "the option 'red' is given 2 times; give it once"),
    (["--choices", "red,,blue"], "an option is empty; leave it out"),
    (["--choices", "red"], "--choices red is neither a list, as in --choices red,blue, nor a file"),
    (["--score", "5-1"], "--score takes two whole numbers, as in 1-5, not '5-1'"),
    (["--yes-no", "--score", "1-5"], "--yes-no and --score exclude each other"),
    (["--yes-no", "--temperature", "1"], "leave --temperature out"),
    # Of forms, all before the library of them is needed.
    (["--schema", "none.json"], "--schema none.json can't be read: No such file or directory"),
    (["--schema", "{}", "--yes-no"], "--yes-no and --schema exclude each other; use one"),
    (["--schema", "{"], "--schema isn't JSON: "),
]


@pytest.mark.parametrize("command", ["ask", "batch"])
@pytest.mark.parametrize(("flags", "sentence"), WRONG)
def test_what_is_wrong_is_said_before_the_model_loads(
    command: str, flags: list[str], sentence: str, fake: Fake
) -> None:
    fake.failure = "model"
    run = run_here(command, CLIP, "What?", *flags)
    assert sentence in run.refusal
    assert len(run.err.splitlines()) == 1


def test_progress_is_removed_from_a_terminal_before_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = list[str]()
    lines = Lines(lambda: written.append(capsys.readouterr().out))
    lines.add(Outcome("key", answered().to_dict()))
    assert written == []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines.add(Outcome("key", answered().to_dict()))
    assert [line[:11] for line in written] == ['{"schema": ']
    assert capsys.readouterr().out == "v.mp4: text 9\n"


@pytest.mark.usefixtures("engine")
def test_other_options_are_other_questions(tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", "1.mp4")
    out = tmp_path / "out.jsonl"
    first = ("batch", tmp_path / "clips", "What?", "--out", out, "--model", "mini")
    assert run_here(*first, "--yes-no").err.startswith("1 clip answered")
    assert run_here(*first, "--yes-no").err.startswith("1 clip done already")
    for other in (["--choices", "no,yes"], ["--score", "1-2"], []):
        assert run_here(*first, *other).err.startswith("1 clip answered")


def test_the_document_is_as_its_schema_says() -> None:
    valid(answered().to_dict(), "answer", "answer")
    schema = schema_of("dycoke.answer/1", "", {"answer": SchemaVariant(Answer)})["$defs"]["answer"]
    assert schema["dependentRequired"]["choice"] == ["probabilities", "margin", "scoring"]


def test_a_person_reads_all_probabilities_and_how_they_came_about() -> None:
    assert odds(answered()) == "9 50.0 % · 10 30.0 % · 8 20.0 % · mean 9.10"
    assert scoring(answered()) == (
        "they have 25.0 % of the probability; mean over tokens; with the end of the answer"
    )
    many = {f"{n}": 0.1 if n else 0.00001 for n in range(9)}
    assert odds(replace(answered(), probabilities=many)).endswith("· 3 others 20.0 % · mean 9.10")
