"""How many requests are taken on, and what those behind them are told; with figures by hand."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from dycoke_cli.server.admission import Admission
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused


def wait_s(admission: Admission, nbytes: int = 1) -> int:
    """The seconds after which a refused request may come again."""
    with pytest.raises(Refused) as refused, admission.admitted(nbytes):
        pass
    assert refused.value.status == 429
    assert refused.value.headers is not None
    return int(refused.value.headers["Retry-After"])


def test_as_many_requests_and_bytes_as_there_may_be() -> None:
    metrics = Metrics()
    admission = Admission(2, 100, metrics)
    with admission.admitted(100):
        assert wait_s(admission) == 1
        with admission.admitted(0):
            assert wait_s(admission, 0) == 1
            assert admission.active == 2
            assert "requests_active 2" in metrics.text()
    # Both are over, and so are their bytes, also where a request fails.
    with pytest.raises(KeyError), admission.admitted(60):
        raise KeyError
    with admission.admitted(60), admission.admitted(40):
        assert wait_s(admission) == 1
    assert admission.active == 0
    assert "requests_active 0" in metrics.text()


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
            stack.enter_context(admission.admitted(1))
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
