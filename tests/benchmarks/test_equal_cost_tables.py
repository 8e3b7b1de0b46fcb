"""The table of ways to spend as many tokens, against figures put in by hand."""

from __future__ import annotations

from typing import Any

from benchmarks.cells import Document
from benchmarks.equal_cost_tables import (
    ROWS,
    equal_cost_by_length,
    equal_cost_caption,
    equal_cost_table,
)
from benchmarks.event_lengths import EVENTS


def row(spec: str, accuracy: float, difference: float | None) -> dict[str, Any]:
    kinds = {"order": {"accuracy": accuracy, "questions": 7}}
    return {
        "spec": spec,
        "accuracy": accuracy,
        "plus_minus": 0.02,
        "difference": difference,
        "difference_plus_minus": None if difference is None else 0.01,
        "by_type": kinds,
    }


def document() -> Document:
    """Each row loses a point more than the one above it, and twice as much at a tenth."""
    rows = [row("none", 0.8, None)]
    for place, spec in enumerate(ROWS, 1):
        for budget, times in ((0.25, 1), (0.1, 2)):
            lost = -0.01 * place * times
            rows.append(row(f"{spec}retain={budget}", 0.8 + lost, lost))
    ahead = {
        f"uniform-frames:retain={budget}": {"difference": value, "difference_plus_minus": 0.02}
        for budget, value in ((0.25, 0.11), (0.1, 0.25))
    }
    short, longest = (name for place, name in enumerate(EVENTS) if place != 1)
    more = {
        one["spec"]: {
            short: {"questions": 9, "accuracy": 0.5, **_apart(one["difference"], 3)},
            longest: {"questions": 8, "accuracy": 0.7, **_apart(one["difference"], 1)},
        }
        for one in rows
    }
    return {
        "name": "m", "frames": 32, "per_frame": 64, "videos": 60, "rows": rows, "ahead": ahead,
        "more": more,
    }  # fmt: skip


def _apart(difference: float | None, times: int) -> dict[str, Any]:
    if difference is None:
        return {"difference": None, "difference_plus_minus": None}
    return {"difference": times * difference, "difference_plus_minus": 0.02}


def test_the_caption_has_the_baseline() -> None:
    told = "Change from the 80.0 ± 2.0 % correct with all 2,048 tokens, in percentage points."
    assert equal_cost_caption(document()) == told


def test_a_line_for_each_way_at_both_budgets() -> None:
    lines = equal_cost_table(document()).splitlines()
    assert lines[0] == "| 32 frames, 2,048 visual tokens, reduced to | 512 | 204 |"
    assert lines[2] == "| fewer frames, whole | −1.0 ± 1.0 | −2.0 ± 1.0 |"
    assert lines[-1] == "| all frames, `dycoke-plus` | −5.0 ± 1.0 | −10.0 ± 1.0 |"
    assert len(lines) == 2 + len(ROWS)


def test_by_length_has_the_columns_that_have_questions() -> None:
    lines = equal_cost_by_length(document()).splitlines()
    assert lines[0] == "|  | an event of less than 3 frames (9) | of more (8) |"
    assert lines[2] == "| all 2,048 tokens | 50.0 % | 70.0 % |"
    assert lines[3] == "| fewer frames, whole | −3.0 ± 2.0 | −1.0 ± 2.0 |"
    assert lines[-1] == "| all frames, `dycoke-plus` | −15.0 ± 2.0 | −5.0 ± 2.0 |"
