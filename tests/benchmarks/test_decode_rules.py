"""The table of rules of decode pruning, against figures counted by hand."""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any

import pytest

from benchmarks.decode_rules import Estimate, Rule, RuleAnswer, figures, grouped
from benchmarks.kept_tables import DATA, read_table

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
    assert row.difference is not None
    assert row.difference.mean == pytest.approx(-1 / 3)
    assert row.difference.plus_minus == third


def test_a_single_context_has_no_error() -> None:
    (row,) = figures(grouped([[answer(Rule("full"), 4, False)]]), 2, ())
    assert row.facts_found == Estimate(0, None)


def test_a_row_counted_by_hand() -> None:
    """Mean, paired difference and standard errors, with nothing of the project."""
    with lzma.open(DATA / "decode-rules-280.jsonl.xz", "rt") as file:
        next(file)
        contexts = [json.loads(line) for line in file]
    numbers = [one["context"] for one in contexts]
    assert len({*numbers}) == len(numbers)

    def of(kind: str, layer: int, ratio: float) -> list[dict[str, Any]]:
        rows = (row for one in contexts for row in one["rows"])
        key = (kind, layer, ratio)
        return [row for row in rows if (row["kind"], row["layer"], row["prune_ratio"]) == key]

    def shown(values: Sequence[float]) -> str:
        return f"{100 * fmean(values):.1f} ± {100 * stdev(values) / len(values) ** 0.5:.1f}"

    own, paper, full = of("index", 0, 0.7), of("dycoke", 3, 0.7), of("full", 0, 0.0)
    same = [[row["same"] / row["steps"] for row in rows] for rows in (own, paper)]
    found = [[row["right"] for row in rows] for rows in (own, full)]
    lost = [row["divergence"] / row["steps"] for row in own]
    differs = shown([a - b for a, b in zip(*found, strict=True)]).replace("-", "−")
    expected = [
        "0.7", "own index of each layer", "0", "30 %", "100", shown(same[0]),
        f"+{shown([a - b for a, b in zip(*same, strict=True)])}",
        f"{fmean(lost):.3f} ± {stdev(lost) / len(lost) ** 0.5:.3f}", shown(found[0]),
    ]  # fmt: skip
    rows = read_table("decode-rules-280")
    (row,) = [one for one in rows if one[:-1] == expected]
    assert row[-1].lstrip("+").startswith(differs)
    assert ["–", "full cache", "–", "100 %", "100", "100", "", "0", shown(found[1]), ""] in rows
