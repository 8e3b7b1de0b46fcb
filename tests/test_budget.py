"""The project stays within its budget, and the budget only falls."""

from __future__ import annotations

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
