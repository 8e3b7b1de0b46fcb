"""The page's table of calibration against the kept answers, and one row of it counted by hand."""

from __future__ import annotations

import json
import lzma
from typing import Any

import pytest

from benchmarks.calibration import KEPT
from benchmarks.kept_tables import read_table
from benchmarks.page import ROOT

PAGE = " ".join((ROOT / "docs" / "evaluate.md").read_text("utf-8").split())


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    with lzma.open(KEPT, "rt") as file:
        next(file)
        return [json.loads(line) for line in file]


def of(answers: list[dict[str, Any]], row: str, by: str) -> dict[str, dict[str, Any]]:
    return {one["item"]: one for one in answers if (one["row"], one["by"]) == (row, by)}


def test_the_calibration_error_of_a_row_by_hand(answers: list[dict[str, Any]]) -> None:
    """The mean distance of probability and accuracy over ten bins of equal width."""
    chosen = of(answers, "dycoke", "probability").values()
    bins: dict[int, list[tuple[float, bool]]] = {}
    for one in chosen:
        sure = max(one["probabilities"].values())
        bins.setdefault(min(int(10 * sure), 9), []).append((sure, one["right"]))
    apart = sum(
        abs(sum(sure for sure, _ in some) - sum(right for _, right in some))
        for some in bins.values()
    )
    (row,) = (row for row in read_table("calibration") if row[0] == "dycoke")
    assert row[6].startswith(f"{100 * apart / len(chosen):.1f} ± ")
