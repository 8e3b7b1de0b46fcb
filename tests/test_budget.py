"""The budget only falls; `make test` holds the project to it."""

from __future__ import annotations

from tests import budget
from tests.budget import BOUNDS, ROOT

NOW = budget.bounds((ROOT / BOUNDS).read_text(encoding="utf-8"))


def test_no_bound_is_above_an_earlier_one() -> None:
    for name, least in budget.least_before().items():
        assert NOW.get(name, 0) <= least, f"{name}: the bound was {least:,} before"
