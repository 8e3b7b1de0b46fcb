"""What is shown while an answer comes, and figures beside it."""

from __future__ import annotations

import io
from operator import itemgetter
from unittest.mock import Mock

import pytest
from rich.console import Console

from dycoke_cli.cli.render import view as view_module
from dycoke_cli.cli.render.figures import Column, as_text, count, table
from dycoke_cli.cli.render.view import View
from dycoke_cli.runs.listener import RunCounts

CELLS = (
    ("1", "none", "2,345 ms", "–"),
    ("2", "dycoke-plus:retain=0.25:merge_stage=vision", "1,234 ms", "−12.5 ± 0.6"),
)


def shown(width: int) -> str:
    columns = [
        Column(heading, itemgetter(number), as_text if heading == "Method" else count)
        for number, heading in enumerate(("#", "Method", "Prefill", "Difference"))
    ]
    file = io.StringIO()
    Console(file=file, width=width).print(table(CELLS, columns, "What it says."))
    return file.getvalue()


@pytest.mark.parametrize("width", range(30, 130, 5))
def test_no_cell_is_cut(width: int) -> None:
    lines = shown(width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines)
    for row in CELLS:
        assert all({*cell} <= {*"".join(lines)} for cell in row)


def test_a_wide_one_has_a_line_for_each_row() -> None:
    head, _, first, *_ = shown(100).splitlines()
    assert head.split() == ["#", "Method", "Prefill", "Difference"]
    assert first.split() == ["1", "none", "2,345", "ms", "–"]


def test_a_line_now_and_then_for_answers_and_for_verdicts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Mock(monotonic=Mock(return_value=100.0))
    monkeypatch.setattr(view_module, "time", clock)
    with View(quiet=False, note="a note") as view:
        view.stage("start")
        view.progress(RunCounts(questions=2400, skipped=100))
        clock.monotonic.return_value += 20
        view.progress(RunCounts(questions=2400, skipped=100, answered=50))
        view.stage("load")
        clock.monotonic.return_value += 40
        view.progress(RunCounts(questions=2400, skipped=100, answered=300))
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
