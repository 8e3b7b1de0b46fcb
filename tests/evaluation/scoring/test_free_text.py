"""Descriptions scored, and the calibration of probabilities."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from dycoke_cli.evaluation.report.scored_row import Bin, bins_of, calibration_error
from dycoke_cli.evaluation.scoring.rules import events, share_in_order, share_told


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


RIGHT = "First the red circle moves up, then the digit 7 is shown, finally the red circle spins."


def longest_common(wanted: list[str], told: list[str]) -> int:
    """The longest sequence that both hold in order, by trying them all."""
    for length in range(len(wanted), 0, -1):
        ours = {tuple(c) for c in combinations(wanted, length)}
        if ours & {tuple(c) for c in combinations(told, length)}:
            return length
    return 0


def matched(wanted: list[str], told: list[str]) -> int:
    """How many of the wanted are told, each telling counting once."""
    left = list(told)
    for event in wanted:
        if event in left:
            left.remove(event)
    return len(told) - len(left)


def text(clauses: list[str]) -> str:
    if not clauses:
        return ""
    told = ", ".join([f"then {c}" for c in clauses[:-1]] + [f"finally {clauses[-1]}"])
    return told[0].upper() + told[1:] + "."


def test_events_are_taken_apart() -> None:
    assert events(RIGHT) == [
        "the red circle moves up", "the digit 7 is shown", "the red circle spins",
    ]  # fmt: skip
    assert events("The star grows.") == ["the star grows"]
    assert events("") == []


@pytest.mark.parametrize(
    ("said", "told", "ordered"),
    [
        (RIGHT, 1, 1),
        (RIGHT.upper(), 1, 1),
        ("The red circle spins.", 1 / 3, 1 / 3),
        ("First the red circle spins, finally the red circle moves up.", 2 / 3, 1 / 3),
        ("First the digit 7 is shown, finally the red circle spins.", 2 / 3, 2 / 3),
        ("First the red circle spins, finally the red circle spins.", 1 / 3, 1 / 3),
        ("I only know moving shapes.", 0, 0),
        ("", 0, 0),
    ],
)
def test_shares_by_hand(said: str, told: float, ordered: float) -> None:
    assert share_told(RIGHT, said) == pytest.approx(told)
    assert share_in_order(RIGHT, said) == pytest.approx(ordered)


def test_shares_are_those_of_the_brute_force() -> None:
    rng = np.random.default_rng(0)
    clauses = [f"the star turns {c}" for c in ("red", "blue", "green", "orange")]
    for _ in range(300):
        wanted, told = ([clauses[int(i)] for i in rng.integers(4, size=n)]
                        for n in rng.integers([1, 0], 6))  # fmt: skip
        assert share_told(text(wanted), text(told)) == matched(wanted, told) / len(wanted)
        expected = longest_common(wanted, told) / len(wanted)
        assert share_in_order(text(wanted), text(told)) == expected
