"""The order of the runs, and what one run counts, on an asker that pretends."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.answer.answer import Answer
from dycoke_cli.bench.bench_report import Stages
from dycoke_cli.bench.bench_run import measure, measure_all
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.evaluation.method_row import MethodRow
from dycoke_cli.loop import answer_batch
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.bench.made_up import PretendedAsker, measured, rows_of
from tests.loop.asking import Asking

REQUEST = Request("mini", LoadOptions(), Sampling(), Method(), GenerationOptions())
QUESTIONS = ("Who?", "Where?")


def test_all_take_turns_and_each_round_begins_with_the_next() -> None:
    seen: list[tuple[str, str]] = []

    def measured_run(row: Any, video: str) -> list[Any]:
        seen.append((video, row.spec.text))
        return [measured()]

    def order(methods: str, videos: str, runs: int) -> list[tuple[str, str]]:
        seen.clear()
        measure_all(rows_of(methods), videos, ("Who?",), runs, measured_run, lambda *_: None)
        return [*seen]

    a, b, c = "none", "evs", "dart"
    assert order(f"{a},{b},{c}", "v", 3) == [
        *[("v", each) for each in (a, b, c)],
        *[("v", each) for each in (b, c, a)],
        *[("v", each) for each in (c, a, b)],
        *[("v", each) for each in (a, b, c)],
    ]
    assert order(f"{a},{b}", "vw", 1) == [
        ("v", a), ("v", b), ("w", a), ("w", b), ("v", b), ("v", a), ("w", b), ("w", a),
    ]  # fmt: skip


def test_the_warm_up_is_not_counted() -> None:
    seen: list[tuple[str, str]] = []
    counted: list[tuple[int, int]] = []

    def measured_run(row: Any, video: str) -> list[tuple[Answer, Stages]]:
        seen.append((row.spec.text, video))
        return [measured(total=len(seen) + 0.1 * number) for number in range(2)]

    results = measure_all(
        rows_of("none,evs"),
        ["v"],
        QUESTIONS,
        2,
        measured_run,
        lambda *counts: counted.append(counts),
    )
    assert seen == [(name, "v") for name in ("none", "evs", "evs", "none", "none", "evs")]
    assert counted == [(done, 12) for done in range(0, 13, 2)]
    totals = {
        (text, question): [times.total for _, times in runs]
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
def asker() -> PretendedAsker:
    return PretendedAsker()


def run(asker: Any, row: MethodRow, video: str = "v") -> list[tuple[Answer, Stages]]:
    return measure(asker, row, video, QUESTIONS, REQUEST, lambda sentence: None)


def test_each_question_counts_as_if_it_had_been_asked_alone(asker: PretendedAsker) -> None:
    [none] = rows_of("none")
    # decode 1, preprocess 0.5, vision 4, prefill 2, TTFT, decode 0.75 of three tokens, in all
    alone = (1.0, 0.5, 4.0, 2.0, 7.5, 0.75, 0.25, 8.25)
    told: list[str] = []
    answers = measure(asker, none, "v", QUESTIONS, REQUEST, told.append)  # type: ignore[arg-type]
    assert [astuple(times) for _, times in answers] == [alone, alone]
    assert told == ["Who? is hard", "Where? is hard"]


def test_every_run_begins_with_the_file_and_reuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the real engine, whose model and videos pretend: one batch per question, in order."""
    asking = Asking(tmp_path, monkeypatch)
    opened: list[bool] = []
    session = asking.pretended._session

    def opening(loaded: Any, clip: Any, **options: Any) -> Any:
        opened.append(options["reuse"])
        return session(loaded, clip, **options)

    monkeypatch.setattr(answer_batch, "VideoSession", opening)
    video = tmp_path / "v.mp4"
    video.touch()
    with asking.engine(keep=0) as engine:
        for row in rows_of("none,dycoke"):
            for _ in range(2):
                answers = run(engine, row, str(video))
                assert [answer.method["name"] for answer, _ in answers] == [row.spec.text] * 2
    assert asking.pretended.paths == [str(video)] * 4
    assert opened == [False] * 4
    assert asking.pretended.batches == [[question] for question in QUESTIONS] * 4


def test_controls_see_a_frame_or_nothing(asker: PretendedAsker) -> None:
    blind, frame = rows_of("no-video,one-frame")
    assert astuple(run(asker, blind)[0][1]) == (
        0.0, 0.0, 0.0, 2.0, 2.0, 0.75, 0.25, 2.75,
    )  # fmt: skip
    run(asker, frame)
    seen = [(ask.question, ask.blind, ask.request.sampling.frames) for ask in asker.asked[1:3]]
    assert seen == [("Where?", True, 32), ("Who?", False, 1)]


@pytest.mark.parametrize(("generated", "per_token"), [(1, None), (2, 0.75)])
def test_a_single_token_has_no_time_per_token(
    asker: PretendedAsker, generated: int, per_token: float | None
) -> None:
    asker.generated = generated
    [none] = rows_of("none")
    assert run(asker, none)[0][1].decode_per_token == per_token


def test_errors_name_their_row(asker: PretendedAsker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(question: str, **_: float) -> Answer:
        raise OutOfMemoryError("memory ran out; use fewer frames")

    monkeypatch.setattr(asker, "answered", fail)
    [_, evs] = rows_of("none,evs:retain=0.5")
    with pytest.raises(OutOfMemoryError, match=r"^--methods evs:retain=0\.5: memory ran out"):
        run(asker, evs)


def test_a_video_that_doesnt_fit_the_context_isnt_read_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows would be of different frames."""

    def too_long(*_: Any) -> None:
        raise UsageError("longer than the context; use 9 frames or fewer")

    asking = Asking(tmp_path, monkeypatch)
    monkeypatch.setattr(UnloadedModel, "check_plan", too_long)
    video = tmp_path / "v.mp4"
    video.touch()
    with (
        asking.engine(keep=0) as engine,
        pytest.raises(UsageError, match=r"^--methods none: longer"),
    ):
        run(engine, rows_of("none")[0], str(video))
