"""The promised bounds, by simulation, and against the closed forms there are."""

import math
import random

import pytest

from dycoke_cli.guard.bounds import (
    calibrated,
    interval,
    last_safe,
    last_safe_on_average,
    p_value,
    videos_needed,
    videos_needed_on_average,
)


@pytest.mark.parametrize(("alpha", "videos"), [(0.05, 59), (0.1, 29), (0.01, 300)])
def test_videos_needed_without_a_loss(alpha: float, videos: int) -> None:
    assert videos_needed(alpha) == videos
    # A single bet of all the capital would need (1 - alpha) ** videos <= 0.05, which is one video
    # fewer for 1 %: two hundredths of the capital are in smaller bets.
    assert 0.98 * (1 - alpha) ** (1 - videos) < 20 <= (1 - alpha) ** -videos


@pytest.mark.parametrize("on_average", [False, True])
def test_that_many_videos_without_a_loss_pass_and_one_fewer_does_not(on_average: bool) -> None:
    """For each bound from .001 to .499: what `tune` says is missing is what is missing."""
    find = last_safe_on_average if on_average else last_safe
    for thousandth in range(1, 500):
        alpha = thousandth / 1000
        needed = calibrated([[]], alpha, on_average=on_average).missing
        assert find([[0.0] * needed], alpha) == 0, alpha
        assert find([[0.0] * (needed - 1)], alpha) is None, alpha


def test_a_bound_that_no_number_of_videos_is_enough_for() -> None:
    for alpha in (1e-17, 1e-30, 5e-324):
        assert videos_needed(alpha) >= 10**17
        assert videos_needed_on_average(alpha) >= 10**16


def test_the_p_value_is_the_inverse_of_the_capital_of_the_bets() -> None:
    losses, alpha = [0.0, 0.25, 0.0, 1.0, 0.25], 0.1
    capital = sum(
        weight * math.prod(1 + share * (alpha - loss) / (1 - alpha) for loss in losses)
        for share, weight in [(1, 0.98), (0.9, 0.004), (0.5, 0.004), (0.2, 0.004), (0.05, 0.004),
                              (0.01, 0.004)]
    )  # fmt: skip
    assert capital < 1
    assert p_value(losses, alpha) == 1
    assert p_value([0.0] * 9 + losses[:2], alpha) == pytest.approx(
        1 / sum(
            weight * (1 + share / 9) ** 10 * (1 + share * (alpha - 0.25) / (1 - alpha))
            for share, weight in [(1, 0.98), (0.9, 0.004), (0.5, 0.004), (0.2, 0.004),
                                  (0.05, 0.004), (0.01, 0.004)]
        ), rel=1e-12
    )  # fmt: skip
    assert 0 < p_value([0.0] * 100_000, 0.5) < 1e-300  # the capital itself is beyond a float


def draws(rng: random.Random, risk: float, videos: int, questions: int) -> list[float]:
    """Losses of videos of which some are harder than others, so that questions go together."""
    losses = []
    for _ in range(videos):
        own = rng.choice((0.2, 1.8)) * risk
        losses.append(sum(rng.random() < own for _ in range(questions)) / questions)
    return losses


@pytest.mark.parametrize("questions", [1, 4, 8])
def test_a_risk_at_the_bound_is_rarely_rejected(questions: int) -> None:
    rng = random.Random(questions)
    rejected = sum(p_value(draws(rng, 0.05, 120, questions), 0.05) <= 0.05 for _ in range(1500))
    assert rejected / 1500 <= 0.05 + 0.012


def test_a_small_risk_is_found_small() -> None:
    rng = random.Random(0)
    found = sum(p_value(draws(rng, 0.01, 120, 8), 0.05) <= 0.05 for _ in range(300))
    assert found / 300 > 0.9


def rules(rng: random.Random, videos: int) -> list[list[float]]:
    """Losses under 20 rules whose risks are .005, .01, …; a video's hardness is the same in all."""
    hardness = [[rng.random() for _ in range(6)] for _ in range(videos)]
    return [
        [sum(one < 0.005 * rule for one in each) / 6 for each in hardness] for rule in range(1, 21)
    ]


def test_the_last_safe_rule_holds_with_confidence() -> None:
    rng = random.Random(1)
    broken = 0
    for _ in range(600):
        last = last_safe(rules(rng, 100), 0.05)
        broken += last is not None and 0.005 * (last + 1) > 0.05
    assert broken / 600 <= 0.05 + 0.015


def test_on_average_the_risk_holds_but_single_samples_pass_it() -> None:
    rng = random.Random(2)
    risks = []
    for _ in range(600):
        last = last_safe_on_average(rules(rng, 60), 0.05)
        risks.append(0.0 if last is None else 0.005 * (last + 1))
    assert sum(risks) / 600 <= 0.05
    assert any(risk > 0.05 for risk in risks)


def test_on_average_by_hand() -> None:
    assert last_safe_on_average([[0.0] * 19], 0.05) == 0
    assert last_safe_on_average([[0.0] * 18], 0.05) is None
    # A loss that an earlier rule had counts under the later ones.
    assert last_safe_on_average([[0.0] * 30, [1.0] + [0.0] * 29, [0.0] * 30], 0.05) == 0


def test_an_interval_holds_the_mean() -> None:
    rng = random.Random(3)
    held = 0
    for _ in range(300):
        low, high = interval(draws(rng, 0.1, 40, 4))
        assert 0 <= low <= high <= 1
        held += low <= 0.1 <= high
    assert held / 300 >= 0.94


def test_a_rule_is_safe_at_exactly_the_confidence_that_is_asked() -> None:
    """Without a loss 59 videos are enough for 5 % at 95 %; one fewer isn't, but is at 90 %."""
    assert last_safe([[0.0] * 59], 0.05) == 0
    assert last_safe([[0.0] * 58], 0.05) is None
    assert last_safe([[0.0] * 58], 0.05, 0.9) == 0


def test_the_first_rule_that_fails_ends_the_sequence() -> None:
    safe, unsafe = [0.0] * 60, [0.5] * 60
    assert last_safe([safe, safe, unsafe, safe], 0.05) == 1
    assert last_safe([unsafe, safe], 0.05) is None


def test_a_loss_that_went_away_counts_under_later_rules() -> None:
    """Each rule loses another video: of 30, three are lost in the end, whatever each rule says."""
    videos = [[float(n == rule) for n in range(30)] for rule in range(1, 5)]
    rules = [[0.0] * 30, *videos]
    # (2 + 1) / 31 is below 0.1, and (3 + 1) / 31 isn't.
    assert last_safe_on_average(rules, 0.1) == 2
    assert last_safe_on_average(rules, 4 / 31 + 1e-9) == 3


@pytest.mark.parametrize("count", [20, 73, 200])
def test_an_interval_has_half_of_its_error_in_each_tail(count: int) -> None:
    """Without a loss: the exact binomial bound at 2.5 %, a little wider for the other bets."""
    exact = 1 - 0.025 ** (1 / count)
    low, high = interval([0.0] * count)
    assert low == 0
    assert exact < high < 1 - (0.98 * 0.025) ** (1 / count) + 1e-9
    one_sided = interval([0.0] * count, 0.9)[1]
    assert 1 - 0.05 ** (1 / count) < one_sided < high
    assert interval([1.0] * count) == pytest.approx((1 - high, 1))


def test_an_interval_of_no_videos_is_everything() -> None:
    assert interval([]) == (0, 1)
    low, high = interval([0.5] * 400)
    assert 0.4 < low < 0.5 < high < 0.6
