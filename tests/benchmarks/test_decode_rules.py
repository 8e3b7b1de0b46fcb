"""The table of rules of decode pruning, against figures counted by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from benchmarks.decode_rules import Estimate, Rule, RuleAnswer, figures, grouped

T_OF_THREE = 1.3213  # by which Student's t widens the error of three contexts


def answer(rule: Rule, same: int, right: bool) -> RuleAnswer:
    """Of four steps; the divergence is one nat for each that differs."""
    return RuleAnswer(rule, 4, same, 4.0 - same, "", right)


def test_figures_by_hand() -> None:
    """Two of three facts found, of three with the full cache, in a model of five layers."""
    full, rule = Rule("full"), Rule("dycoke", 2, 0.5)
    found = [(4, True), (2, True), (0, False)]
    contexts = [[answer(full, 4, True), answer(rule, *one)] for one in found]
    whole, row = figures(grouped(contexts), layers=5, windows=[0, 4])
    assert (whole.retention_at_decode, whole.facts_found) == (1, Estimate(1, 0))
    assert whole.difference is None
    assert row.retention_at_decode == 1 - 0.5 * 2 / 5  # layers 2 and 3 are pruned
    assert row.same_next_token.mean == 0.5
    assert row.same_next_token.plus_minus == pytest.approx(T_OF_THREE * 0.5 / sqrt(3), rel=1e-4)
    assert row.divergence.mean == 0.5
    assert row.facts_found.mean == pytest.approx(2 / 3)
    third = pytest.approx(T_OF_THREE / 3, rel=1e-4)  # sqrt((2/3)(1/3) / 2)
    assert row.facts_found.plus_minus == third
    assert row.difference.mean == pytest.approx(-1 / 3)
    assert row.difference.plus_minus == third


def test_a_single_context_has_no_error() -> None:
    (row,) = figures(grouped([[answer(Rule("full"), 4, False)]]), 2, ())
    assert row.facts_found == Estimate(0, None)
