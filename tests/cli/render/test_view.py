"""What stands on stderr while something runs: off a terminal, lines about what comes one by one."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from dycoke_cli.cli.render import progress
from dycoke_cli.cli.render.view import View
from dycoke_cli.runs.listener import RunCounts


def test_a_line_now_and_then_for_answers_and_for_verdicts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Mock(monotonic=Mock(return_value=100.0))
    monkeypatch.setattr(progress, "time", clock)
    with View(quiet=False, note="a note") as view:
        view.stage("start")
        view.progress(RunCounts(videos=3, questions=2400, skipped=100))
        clock.monotonic.return_value += 20
        view.progress(RunCounts(videos=3, questions=2400, skipped=100, answered=50))
        view.stage("load")
        clock.monotonic.return_value += 40
        view.progress(RunCounts(videos=3, questions=2400, skipped=100, answered=300))
        view.failed("a.mp4: it is torn")
        view.failed("a.mp4: it is torn")
        view.stage("verdicts", 0, 9)
        view.stage("verdicts", 9, 9)
    # 300 answers in a minute, 2,000 are left.
    assert capsys.readouterr().err == (
        "a note\n"
        "100 of 2,400 answers are there\n"
        "Loading the model\n"
        "400 of 2,400 answers, about 7 min left\n"
        "Failed: a.mp4: it is torn\n"
        "0 of 9 verdicts are there\n"
    )


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with View(quiet=True, note="a note") as view:
        view.stage("answers", 0, 9)
        view.warning("a warning")
        view.failed("why")
    assert capsys.readouterr().err == ""
