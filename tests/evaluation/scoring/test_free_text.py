"""Descriptions scored."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from dycoke_cli.evaluation.scoring.rules import events, share_in_order, share_told

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
        ("First the red circle spins, finally the red circle moves up.", 2 / 3, 1 / 3),
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
