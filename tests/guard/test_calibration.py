"""The guard's threshold: by hand, and by simulation of scores that tell something."""

import random

import pytest

from dycoke_cli.guard.bounds import Attempt, calibrate, kept, loss

CLIMB = (Attempt(0.4, same=False), Attempt(0.8, same=True))


def test_where_a_question_stops() -> None:
    assert [kept(CLIMB, t) for t in (0.3, 0.4, 0.5, 0.9)] == [0, 0, 1, 2]
    assert [loss([CLIMB], t) for t in (0.3, 0.5, 0.9)] == [1, 0, 0]
    assert loss([CLIMB, (Attempt(0.9, same=True),)], 0.3) == 0.5
    assert loss([CLIMB, CLIMB, (Attempt(0.9, same=True),)], 0.3) == 2 / 3


def question(rng: random.Random) -> list[Attempt]:
    """At two budgets: a less certain answer is changed more often."""
    tries = []
    for least in (0.0, 0.3):
        score = least + (1 - least) * rng.random()
        tries.append(Attempt(score, same=rng.random() > 0.6 * (1 - score)))
    return tries


def videos(rng: random.Random, count: int) -> list[list[list[Attempt]]]:
    return [[question(rng) for _ in range(4)] for _ in range(count)]


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_the_bound_holds_in_95_of_100_samples(alpha: float) -> None:
    rng = random.Random(7)
    population = videos(rng, 1000)
    broken = promised = 0
    for _ in range(60):
        found = calibrate(rng.sample(population, 120), alpha)
        if found.threshold is None:
            continue
        promised += 1
        risk = sum(loss(each, found.threshold) for each in population) / len(population)
        broken += risk > alpha
    assert promised > 50
    assert broken / 60 <= 0.05 + 0.03


def test_too_few_videos_are_counted() -> None:
    certain = [[[Attempt(1.0, same=True)]]]
    assert calibrate(certain * 40, 0.05).threshold is None
    assert calibrate(certain * 40, 0.05).missing == 19
    assert calibrate(certain * 59, 0.05).threshold == 0
    assert calibrate(certain * 19, 0.05, on_average=True).threshold == 0
    assert calibrate(certain * 9, 0.05, on_average=True).missing == 10
    assert calibrate([], 0.1).missing == 29


def test_changes_that_are_certain_leave_no_threshold() -> None:
    sure = [[[Attempt(1.0, same=False)]]] * 200
    found = calibrate(sure, 0.05)
    assert found.threshold is None
    assert found.missing == 0
