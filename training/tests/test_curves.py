"""The picture of a run shows what its log says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from dycoke_cli.errors import UsageError
from training.curves import Point, curves_figure, read_log, write_curves

POINTS = [
    Point(10, "vision tower", {"seeing": 0.5}),
    Point(20, "vision tower", {"seeing": 0.75}),
    Point(30, "questions", {"seeing": 0.8, "order": 0.1}),
    Point(40, "questions", {"seeing": 0.9, "order": 0.3}),
]


def line(step: int, stage: str, **accuracy: float) -> str:
    return json.dumps({"step": step, "stage": stage, "accuracy": accuracy, "loss": 1.0}) + "\n"


def test_steps_made_again_after_a_kill_count_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    before = line(10, "a", order=0.1) + line(20, "a", order=0.2) + line(30, "b", order=0.9)
    log.write_text(before + line(20, "a", order=0.25) + "[]\n" + line(30, "a", order=0.3)[:20])
    assert read_log(log) == [Point(10, "a", {"order": 0.1}), Point(20, "a", {"order": 0.25})]


def test_a_log_without_steps_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("nothing\n")
    with pytest.raises(UsageError, match="has no step"):
        read_log(tmp_path / "log.jsonl")
    with pytest.raises(UsageError, match="isn't there"):
        read_log(tmp_path / "no.jsonl")


def test_lines_are_the_shares_with_a_gap_between_stages() -> None:
    answers, probes = curves_figure(POINTS).axes
    curves = {c.get_label(): c.get_xydata() for c in (*answers.lines, *probes.lines)}
    assert curves["order"][:2].tolist() == [[30, 0.1], [40, 0.3]]
    seeing = curves["seeing"].tolist()
    assert seeing[:2] == [[10, 0.5], [20, 0.75]]
    assert math.isnan(seeing[2][1])
    assert seeing[3:5] == [[30, 0.8], [40, 0.9]]
    assert "seeing" not in [c.get_label() for c in answers.lines]


def test_a_stage_that_comes_again_is_another_stretch() -> None:
    again = [
        *POINTS,
        Point(50, "vision tower", {"seeing": 0.6}),
        Point(60, "vision tower", {"seeing": 0.7}),
    ]
    probes = curves_figure(again).axes[1]
    [seeing] = [c.get_xydata().tolist() for c in probes.lines if c.get_label() == "seeing"]
    assert [step for step, _ in seeing] == [10, 20, 20, 30, 40, 40, 50, 60, 60]


def test_stages_are_marked_where_they_begin() -> None:
    for axes in curves_figure(POINTS).axes:
        assert [(t.get_position()[0], t.get_text()) for t in axes.texts] == [
            (0, "vision tower"),
            (30, "questions"),
        ]


def test_the_file_is_a_picture(tmp_path: Path) -> None:
    write_curves(POINTS, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1800, 960)
