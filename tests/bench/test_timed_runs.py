"""The order of the runs, and what one run counts, on an engine that pretends, by its own clock."""

from __future__ import annotations

from dataclasses import astuple
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.answer.answer import Answer
from dycoke_cli.bench.timed_runs import TimedAnswer, Timer, interleave, measure_all
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.video import Sampling
from tests.bench.made_up import PretendedEngine, measured, rows_of
from tests.documents import example

QUESTIONS = ("Who?", "Where?")


def test_all_take_turns_and_each_round_begins_with_the_next() -> None:
    assert [*interleave("abc", ["v"], 3)] == [
        *[(0, "v", each) for each in "abc"],
        *[(1, "v", each) for each in "bca"],
        *[(2, "v", each) for each in "cab"],
        *[(3, "v", each) for each in "abc"],
    ]
    assert [*interleave("ab", ["v", "w"], 1)] == [
        (0, "v", "a"), (0, "v", "b"), (0, "w", "a"), (0, "w", "b"),
        (1, "v", "b"), (1, "v", "a"), (1, "w", "b"), (1, "w", "a"),
    ]  # fmt: skip


def test_the_warm_up_is_not_counted() -> None:
    seen: list[tuple[str, str]] = []
    counted: list[tuple[int, int]] = []

    def measure(row: Any, video: str) -> list[TimedAnswer]:
        seen.append((row.spec.text, video))
        return [measured(total=len(seen) + 0.1 * number) for number in range(2)]

    results = measure_all(
        rows_of("none,evs"),
        ["v"],
        QUESTIONS,
        2,
        measure,
        lambda *counts: counted.append(counts),
    )
    assert seen == [(name, "v") for name in ("none", "evs", "evs", "none", "none", "evs")]
    assert counted == [(done, 12) for done in range(0, 13, 2)]
    totals = {
        (text, question): [each.seconds.total for each in runs]
        for text, by_question in results.items()
        for (_, question), runs in by_question.items()
    }
    # Runs 1 and 2 were the warm-up.
    assert totals == {
        ("none", "Who?"): [4.0, 5.0],
        ("none", "Where?"): [4.1, 5.1],
        ("evs", "Who?"): [3.0, 6.0],
        ("evs", "Where?"): [3.1, 6.1],
    }


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> PretendedEngine:
    pretended = PretendedEngine()
    pretended.put_in_place(monkeypatch)
    return pretended


def timer(engine: PretendedEngine) -> Timer:
    family = FAMILIES["llava_onevision"]
    loaded: Any = SimpleNamespace(traits=ModelTraits("llava_onevision", family, {}, 10))
    return Timer(
        loaded, engine.read, QUESTIONS, Sampling(), GenerationOptions(), clock=engine.clock
    )


def test_each_question_counts_as_if_it_had_been_asked_alone(engine: PretendedEngine) -> None:
    [none] = rows_of("none")
    # decode 1, preprocess 0.5, vision 4, prefill 2, TTFT, decode 0.75 of three tokens, in all
    alone = (1.0, 0.5, 4.0, 2.0, 7.5, 0.75, 0.25, 8.25)
    assert [astuple(each.seconds) for each in timer(engine).run(none, "v")] == [alone, alone]
    # What really passed: the video was read and encoded once.
    assert engine.clock.now == 100 + 1 + 0.5 + 4 + 2 * 2.75


def test_every_run_begins_with_the_file(engine: PretendedEngine) -> None:
    watch = timer(engine)
    for row in rows_of("none,dycoke"):
        for _ in range(2):
            watch.run(row, "v")
    one = lambda method: [  # noqa: E731
        ("read", "v", 32),
        ("ask", "v", method, "Who?", 4.0),
        ("ask", "v", method, "Where?", 0.0),
    ]
    assert engine.events == 2 * one("none") + 2 * one("dycoke")


def test_controls_see_a_frame_or_nothing(engine: PretendedEngine) -> None:
    blind, frame = rows_of("no-video,one-frame")
    assert astuple(timer(engine).run(blind, "v")[0].seconds) == (
        0.0, 0.0, 0.0, 2.0, 2.0, 0.75, 0.25, 2.75,
    )  # fmt: skip
    timer(engine).run(frame, "v")
    assert engine.events[:3] == [("blind", "Who?"), ("blind", "Where?"), ("read", "v", 1)]


def test_a_single_token_has_no_time_per_token(engine: PretendedEngine) -> None:
    engine.generated = 1
    [none] = rows_of("none")
    assert timer(engine).run(none, "v")[0].seconds.decode_per_token is None


def test_a_question_that_the_model_was_not_asked_is_refused(
    engine: PretendedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(question: str, vision: float) -> Answer:
        warnings = ("the model wasn't asked: it only knows shapes",)
        return example(Answer, question=question, finish_reason="refused", warnings=warnings)

    monkeypatch.setattr(engine, "answered", refused)
    for each in rows_of("none,no-video"):
        with pytest.raises(UsageError, match=r"^'Who\?': the model wasn't asked: it only knows"):
            timer(engine).run(each, "v")


def test_errors_name_their_row(engine: PretendedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(question: str, vision: float) -> Answer:
        raise OutOfMemoryError("memory ran out; use fewer --frames")

    monkeypatch.setattr(engine, "answered", fail)
    [_, evs] = rows_of("none,evs:retain=0.5")
    with pytest.raises(OutOfMemoryError, match=r"^--methods evs:retain=0\.5: memory ran out"):
        timer(engine).run(evs, "v")
