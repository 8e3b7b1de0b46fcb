"""Calibration errors counted by hand."""

from __future__ import annotations

import random

import pytest

from dycoke_cli.evaluation.report.probability_row import Bin, bins_of, calibration_error


def test_bins_and_their_error_by_hand() -> None:
    probabilities = [0.95, 1.0, 0.91, 0.4, 0.31, 0.0]
    correct = [True, True, False, True, False, False]
    bins = bins_of(probabilities, correct)
    # 0.4 is the upper end of (0.3, 0.4], and 0 belongs to the first one.
    assert bins == (
        Bin(1, 0.0, 0.0),
        Bin(2, pytest.approx(0.355), 0.5),
        Bin(3, pytest.approx(2.86 / 3), pytest.approx(2 / 3)),
    )
    by_hand = (1 * 0 + 2 * (0.5 - 0.355) + 3 * (2.86 / 3 - 2 / 3)) / 6
    assert calibration_error(bins) == pytest.approx(by_hand)


def test_one_that_is_always_sure_is_as_wrong_as_it_is_inaccurate() -> None:
    assert calibration_error(bins_of([1.0] * 4, [True, False, False, False])) == 0.75
    assert calibration_error(bins_of([1.0] * 4, [True] * 4)) == 0


def test_a_calibrated_one_has_hardly_an_error() -> None:
    draw = random.Random(0)
    probabilities = [draw.random() for _ in range(20_000)]
    correct = [draw.random() < one for one in probabilities]
    assert calibration_error(bins_of(probabilities, correct)) < 0.015
