"""The project stays within its budget, and the budget only falls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import budget
from tests.budget import BOUNDS, COUNTS, ROOT

NOW = budget.bounds((ROOT / BOUNDS).read_text(encoding="utf-8"))


@pytest.mark.slow  # it parses every file
def test_nothing_grows_beyond_its_bound() -> None:
    for name, count in COUNTS.items():
        now = count()
        assert now <= NOW[name], f"{now:,} {name}, and at most {NOW[name]:,}: take something away"
        assert budget.lowered(now, NOW[name]) == NOW[name], "lower the bound: make budget"


def test_no_bound_is_above_an_earlier_one() -> None:
    for name, least in budget.least_before().items():
        assert NOW.get(name, 0) <= least, f"{name}: the bound was {least:,} before"


def test_a_bound_falls_by_itself_and_leaves_room_for_a_fix() -> None:
    assert budget.lowered(1000, 1011) == 1005
    assert budget.lowered(1000, 1010) == 1010
    assert budget.lowered(1020, 1010) == 1010  # never up


def test_docstrings_and_comments_cost_no_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '"""What it is."""\n\n# Why.\nx = 1\nif x:\n    x = 2; x = 3\n'
    (tmp_path / "one.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(budget, "ROOT", tmp_path)
    assert budget._statements(".") == 4
    assert budget._lines(".") == 6
