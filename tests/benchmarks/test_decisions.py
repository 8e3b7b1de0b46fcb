"""The kept decisions: as many tokens beside each other, and figures of a row by hand."""

from __future__ import annotations

from statistics import fmean

import pytest

from benchmarks.decisions import FEWER, KEPT, brier, calibration_error, questions, rows
from benchmarks.json_lines import read_lines

LINES = [*read_lines(KEPT)]


def test_the_control_reads_as_many_tokens() -> None:
    for line in LINES:
        read = {row: one["visual_kept"] for row, one in line["rows"].items()}
        names = [row for row, *_ in rows(line["model"])]
        assert {*read} == {*names}
        every, default, fewer, stride, plus, quarter = (read[name] for name in names)
        assert fewer == pytest.approx(default, rel=0.02)
        assert stride == plus == quarter == every // 4


def test_answers_are_of_the_questions_and_scored_as_they_say() -> None:
    items = {item.id: item for item in questions()}
    assert len(items) == len({item.video for item in items.values()}) == 200
    assert {line["model"] for line in LINES} <= {*FEWER}
    for line in LINES:
        for one in line["rows"].values():
            shares = one["probabilities"]
            assert sum(shares.values()) == pytest.approx(1)
            said = max(shares, key=shares.__getitem__)
            assert one["right"] == (said == items[line["item"]].answer)


def test_brier_by_hand() -> None:
    item = next(item for item in questions() if item.answer == "B")
    shares = {"A": 0.5, "B": 0.25, "C": 0.25, "D": 0.0}
    assert brier({"item": item, "probabilities": shares}) == 0.25 + 0.5625 + 0.0625
    assert fmean(map(brier, [{"item": item, "probabilities": {"B": 1.0}}])) == 0


def test_the_calibration_error_by_hand() -> None:
    """The mean distance of probability and accuracy over ten bins of equal width."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    answers = [line["rows"]["`dycoke`, the default"] for line in LINES if line["model"] == "mini"]
    for one in answers:
        sure = max(one["probabilities"].values())
        bins.setdefault(min(int(10 * sure), 9), []).append((sure, one["right"]))
    apart = sum(
        abs(sum(sure for sure, _ in some) - sum(right for _, right in some))
        for some in bins.values()
    )
    assert calibration_error(answers) == pytest.approx(apart / len(answers))
