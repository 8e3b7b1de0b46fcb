"""How many requests are taken on, and what those behind them are told; with figures by hand."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from dycoke_cli.server.limits import Admission
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused


def wait_s(admission: Admission) -> int:
    """The seconds after which a refused request may come again."""
    with pytest.raises(Refused) as refused, admission.admitted():
        pass
    assert refused.value.status == 429
    return int(refused.value.headers["Retry-After"])


def test_as_many_requests_as_there_may_be() -> None:
    metrics = Metrics()
    admission = Admission(2, 100, metrics)
    with admission.admitted():
        admission.check()
        with admission.admitted():
            assert wait_s(admission) == 1
            assert admission.active == 2
            assert "requests_active 2" in metrics.text()
    # Both are over, also where a request fails.
    with pytest.raises(KeyError), admission.admitted():
        raise KeyError
    admission.check()
    assert admission.active == 0
    assert "requests_active 0" in metrics.text()


def test_as_many_bytes_of_all_bodies_as_there_may_be() -> None:
    admission = Admission(9, 100, Metrics(), most_json_bytes=50, free_bytes=10)
    with admission.receiving() as first:
        first(0, 60)
        first(60, 100)
        with admission.receiving() as second:
            second(10, 0)  # a question finds room whatever others send
            with pytest.raises(Refused, match="large bodies"):
                second(11, 0)
        with admission.receiving() as third, pytest.raises(Refused, match="large bodies"):
            third(0, 1)
    with suppress(KeyError), admission.receiving() as failing:
        failing(60, 100)
        raise KeyError
    with admission.receiving() as last:
        last(60, 100)
        with pytest.raises(Refused):
            last(61, 100)


@pytest.mark.parametrize(
    ("seconds", "active", "expected"),
    [([], 4, 2), ([3, 5], 4, 8), ([0.1], 4, 1), ([0.5], 5, 2), ([90], 4, 60)],
)
def test_the_pause_is_half_of_what_those_before_take(
    seconds: list[float], active: int, expected: int
) -> None:
    """At a usual second each, until one was measured; at least 1 s, at most a minute."""
    metrics = Metrics()
    for each in seconds:
        metrics.observe("answer_seconds", each)
    admission = Admission(active, 1000, metrics)
    with ExitStack() as stack:
        for _ in range(active):
            stack.enter_context(admission.admitted())
        assert wait_s(admission) == expected


def test_a_mean_of_nothing_is_none() -> None:
    metrics = Metrics()
    assert metrics.mean("answer_seconds") is None
    metrics.add("answers_total", 2, method="evs")
    metrics.add("answers_total", method="evs")
    metrics.observe("wait_seconds", 0.5)
    text = metrics.text()
    assert 'dycoke_answers_total{method="evs"} 3\n' in text
    assert "dycoke_wait_seconds_sum 0.5\ndycoke_wait_seconds_count 1\n" in text
    assert "dycoke_answer_seconds_count 0\n" in text
