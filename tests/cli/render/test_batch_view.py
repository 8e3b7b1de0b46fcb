"""How far a batch is, off a terminal: a plain line now and then, and a sentence at its end."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from rich.console import Console

from dycoke_cli.cli.render import batch_view
from dycoke_cli.cli.render.batch_view import BatchView, batch_summary
from dycoke_cli.runs.listener import RunCounts
from dycoke_cli.video.sampling import format_time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands still until it is told."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(batch_view, "time", clock)
    return clock


def test_a_line_now_and_then(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    counts = RunCounts(questions=2400, skipped=200)
    with BatchView(quiet=False) as view:
        view.progress(counts)
        clock.now += 20
        counts.answered, counts.tokens = 50, 1000
        view.progress(counts)
        assert capsys.readouterr().err == ""
        clock.now += 20
        counts.answered, counts.failed, counts.tokens = 99, 1, 2000
        view.progress(counts)
        clock.now += 20
        view.progress(counts)
    # 50 questions in 20 s behind the first ones, 2,100 are left: 840 s.
    assert capsys.readouterr().err == (
        "300 of 2,400 questions · 1 failed · 50 tokens/s · 14:00 left\n"
    )


def test_a_run_that_generated_no_token_yet_has_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor has one that searches for times, whose answers come at its end."""
    counts = RunCounts(questions=2)
    assert batch_view._line(counts, batch_view._Pace(counts)) == "0 of 2 questions · 0 failed"


@pytest.mark.parametrize(("together", "shown"), [(1, 5), (4, 8)])
def test_the_time_left_is_not_that_of_a_cold_start(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, together: int, shown: int
) -> None:
    """The first results take two minutes, and all others 10 s for each question."""
    counts = RunCounts(questions=200)
    monkeypatch.setattr(batch_view, "stderr_console", lambda: Console(width=200))
    pace = batch_view._Pace(counts)
    clock.now += 110
    while counts.answered < 20:
        clock.now += 10 * together
        counts.answered += together
        pace.note()
        line = str(batch_view._Live(counts, pace, lambda: False).render(Mock()))
        assert ("left" in line) == (counts.answered >= shown)
        if "left" in line:
            left_s = 10 * (200 - counts.answered)
            assert line.endswith(f" {format_time(left_s)} left")


def test_quiet_says_nothing(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    counts = RunCounts(questions=1)
    with BatchView(quiet=True) as view:
        view.stage("start")
        view.note("a note")
        view.warning("a warning")
        view.stage("load")
        view.progress(counts)
        clock.now += 100
        view.progress(counts)
        view.failed("why")
        view.finished(counts, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (RunCounts(1, 1, answered=1), "1 clip answered"),
        (RunCounts(1234, 4, answered=1234), "1,234 questions about 4 clips answered"),
        (
            RunCounts(9, 2, answered=2, skipped=3, skipped_failed=1, failed=1),
            "9 questions about 2 clips, 3 done already, 1 failed, 1 failed earlier, 2 not asked",
        ),
        (
            RunCounts(15, 15, skipped=14, skipped_failed=1),
            "15 clips, 14 done already, 1 failed earlier",
        ),
        (
            RunCounts(33, 33, answered=32, failed=1, warned={"a.mp4": None}),
            "33 clips, 1 failed, 1 with warnings (a.mp4)",
        ),
        (RunCounts(2, 2, skipped=1, answered=1), "2 clips, 1 done already"),
        (
            RunCounts(3, 1, answered=3, warned={"a.mp4": None}),
            "3 questions about 1 clip answered, 1 clip with warnings (a.mp4)",
        ),
    ],
)
def test_what_came_of_it(counts: RunCounts, sentence: str) -> None:
    assert batch_summary(counts, resumable=False) == sentence
    retry = "; retry with --retry-failed" if counts.standing else ""
    assert batch_summary(counts, resumable=True) == sentence + retry


@pytest.mark.parametrize("columns", [70, 80, 160])
def test_the_live_view_fits_its_terminal(
    columns: int, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rich would cut off what is left of the time, or break the line."""
    monkeypatch.setattr(batch_view, "stderr_console", lambda: Console(width=columns))
    counts = RunCounts(questions=98765, answered=1)
    pace = batch_view._Pace(counts)
    pace.note()
    clock.now += 3600
    counts.answered, counts.failed, counts.tokens = 23456, 12, 3_000_000
    shown = str(batch_view._Live(counts, pace, lambda: False).render(Mock()))
    assert len(shown) + batch_view._BAR + 4 <= columns
    for figure in ("23,468 of 98,765 questions", "12 failed", " left"):
        assert figure in shown
    assert ("833 tokens/s" in shown) == (columns >= 100)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (61, "1:01"), (3599.7, "1:00:00"), (90061, "25:01:01")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert format_time(round(seconds)) == shown
