"""How properties are tested: by Hypothesis, with the same examples each time, on no clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

QUICK = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,  # other tests run beside it; `tests/limits.py` counts processor time
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
