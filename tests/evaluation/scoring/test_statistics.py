"""Figures against hand computation, and against draws that know nothing of the formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.scored_row import list_changes
from dycoke_cli.evaluation.scoring.statistics import (
    clustered_mean,
    holm,
    mean_of,
    mean_or_none,
    p_value,
    plus_minus,
    retention,
    shown_mean,
    t_quantile,
)


def item(number: int, video: str, kind: str = "colour") -> Item:
    return Item(str(number), video, f"question {number}", f"right {number}", kind, "static")


def said(number: int, text: str, right: bool, visual: int = 100, kept: int = 40) -> Prediction:
    return Prediction(str(number), text, right, {}, visual, kept, kept / 4, 5, 0.1, 1000)


def right(prediction: Prediction) -> float:
    return float(prediction.right)


def test_clustered_error_by_hand() -> None:
    # Mean 0.6; residuals add up to 0.4 + 0.4 - 0.6 = 0.2 and 0.4 - 0.6 = -0.2; 2 / (2 - 1) = 2.
    mean, error = clustered_mean([1, 1, 0, 1, 0], ["a", "a", "a", "b", "b"])
    assert mean == pytest.approx(0.6)
    assert error == pytest.approx((2 * (0.2**2 + 0.2**2)) ** 0.5 / 5)


def test_one_video_has_no_error() -> None:
    assert clustered_mean([1, 0, 1, 1], ["a"] * 4) == (0.75, None)
    assert clustered_mean([], []) == (None, None)
    items = [item(0, "a"), item(1, "a")]
    base = {str(n): said(n, "x", True) for n in range(2)}
    mean = mean_of(right, items, base, base)
    assert (mean.standard_error, mean.difference, mean.difference_error) == (None, 0, None)
    assert (mean.plus_minus, mean.difference_plus_minus, mean.difference_p) == (None,) * 3


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 19, 59, 600])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.975, 0.995])
def test_quantiles_are_those_of_scipy(share: float, freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), abs=1e-9)


@pytest.mark.parametrize(
    ("clusters", "factor"),
    # Of tables of t with clusters - 1 degrees of freedom, at 84.13 %; from 30 on it is left out.
    [(2, 1.8373), (3, 1.3213), (8, 1.0767), (29, 1.0182), (30, 1), (600, 1)],
)
def test_few_videos_widen_what_a_table_shows(clusters: int, factor: float) -> None:
    assert plus_minus(0.02, clusters) == pytest.approx(0.02 * factor, rel=1e-4)
    values, videos = [1.0, 0.0] * clusters, [str(n) for n in range(clusters) for _ in range(2)]
    values[0] = 0.0
    mean, error = clustered_mean(values, videos)
    assert error is not None
    assert shown_mean(values, videos) == (mean, pytest.approx(error * factor, rel=1e-4))


def test_a_p_value_has_as_many_degrees_of_freedom_as_videos_but_one() -> None:
    # As of a t-test of seven values, p = 0.0228; a normal distribution would say 0.0024.
    values = [1.0, 0.0, 0.0, 1.0, 1.0, 0.5, 0.25]
    mean, error = clustered_mean(values, list("abcdefg"))
    p = p_value(mean, error, 7)
    assert p == pytest.approx(0.0228, abs=5e-5)
    stats = pytest.importorskip("scipy.stats")
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-12)
    assert p_value(-0.5, 0.1, 12) == pytest.approx(2 * stats.t.sf(5, 11), abs=1e-12)
    # A group of questions that all moved alike shows nothing of others.
    assert p_value(0.5, 0.0, 2) is None
    assert p_value(0.5, None, 1) is None
    assert p_value(0.0, 0.1, 4) == pytest.approx(1)


def test_holm_by_hand() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04, which can't be below the one before it.
    found = holm([0.01, 0.04, None, 0.03, 0.005])
    assert found == [pytest.approx(0.03), pytest.approx(0.06), None, pytest.approx(0.06),
                     pytest.approx(0.02)]  # fmt: skip
    assert holm([0.7, 0.6]) == [1, 1]
    assert holm([0.04]) == [0.04]
    assert holm([None]) == [None]


@pytest.mark.extended
def test_intervals_of_few_videos_hold_what_they_say() -> None:
    """Of 95 % intervals as many hold the truth; without factor and quantile, far fewer of 5."""
    videos, rng = 5, np.random.default_rng(5)
    draws, held, held_before, shown = 4000, 0, 0, 0
    names = [str(video) for video in range(videos) for _ in range(8)]
    for _ in range(draws):
        # Differences of eight questions about each video, that go together within one; mean 0.
        drawn = rng.normal(0, 1, (videos, 1)) + rng.normal(0, 1, (videos, 8))
        mean, error = clustered_mean(drawn.flatten().tolist(), names)
        assert mean is not None
        assert error is not None
        interval = t_quantile(0.975, videos - 1) * error
        held += abs(mean) < interval
        shown += abs(mean) < (plus_minus(error, videos) or 0)
        held_before += abs(mean) < 1.96 * error * ((videos - 1) / videos) ** 0.5
    assert held / draws == pytest.approx(0.95, abs=0.012)
    assert shown / draws == pytest.approx(0.6827, abs=0.02)
    assert held_before / draws < 0.87


def test_changed_fixed_and_broken_by_hand() -> None:
    items = [item(number, "a") for number in range(6)]
    texts = [("red", ok) for ok in (True, False, True, False, True, False)]
    after = [
        ("red", True),
        ("blue", True),
        ("blue", False),
        ("blue", False),
        ("Red", True),
        ("blue", True),
    ]
    base = {str(n): said(n, *pair) for n, pair in enumerate(texts)}
    new = {str(n): said(n, *pair) for n, pair in enumerate(after)}
    listed = list_changes("dycoke", items, new, base)
    assert [(change.item, change.outcome) for change in listed] == [
        ("1", "fixed"),
        ("2", "broken"),
        ("3", "still wrong"),
        ("4", "still right"),
        ("5", "fixed"),
    ]
    assert (listed[0].uncompressed, listed[0].said, listed[0].answer) == ("red", "blue", "right 1")


def test_shares_are_means_over_answers_that_had_a_video() -> None:
    answers = [said(0, "x", True, 100, 40), said(1, "x", True, 200, 120)]
    assert retention(answers, lambda one: one.visual_kept) == 0.5
    assert retention(answers, lambda one: one.visual_active) == 0.125
    assert retention(answers, lambda one: 30) == pytest.approx((30 / 100 + 30 / 200) / 2)
    assert retention([said(0, "x", True, 0, 0)], lambda one: one.visual_kept) is None
    # Known of some answers alone, it isn't told.
    answers[0] = replace(answers[0], visual_read=30)
    assert retention(answers, lambda one: one.visual_read) is None


def test_a_mean_with_something_unknown_in_it_is_unknown() -> None:
    assert mean_or_none([1.0, 2.0]) == 1.5
    assert mean_or_none([1.0, None]) is None
    assert mean_or_none([]) is None
