"""The table of what each rule of decode pruning lost."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.page import ROOT
from dycoke_cli.evaluation.scoring.statistics import clustered_mean

DATA, PAGE = ROOT / "docs" / "data", ROOT / "docs" / "results.md"
_PAPERS = ("dycoke", 3)
"""The rule and layer that others are compared with, at the same P."""
_NAMES = {
    "dycoke": "DyCoke's",
    "random": "random",
    "index": "own index of each layer",
    "index per head": "own index of each KV head",
    "exact": "own exact scores of each layer",
    "pages": "pages of 16 tokens of each KV head (as Quest)",
}


def table(file: Path) -> str:
    """Agreement, divergence and exact match by rule, as Markdown.

    Args:
        file: of answers, compressed.
    """
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        header, *contexts = map(json.loads, lines)
    by_rule: dict[tuple[float, str, int], list[dict[str, Any]]] = defaultdict(list)
    for one in contexts:
        for row in one["rows"]:
            by_rule[row["prune_ratio"], row["kind"], row["layer"]].append(row)
    whole = by_rule.pop((0.0, "full", 0))
    made = [
        "| P | rule | first pruned layer | retention at decode | same next token, % "
        "| more than DyCoke's at L = 3 | divergence, nats per token | fact found, % "
        "| difference from the full cache |",
        "| --- " * 9 + "|",
        f"| – | full cache | – | 100 % | 100 | | 0 | {_percent(_found(whole))} | |",
    ]
    for (ratio, kind, layer), rows in by_rule.items():
        read = 1 - ratio * (header["layers"] - layer) / header["layers"]
        paper = by_rule.get((ratio, *_PAPERS))
        more = _difference(_same(rows), _same(paper)) if paper and paper is not rows else ""
        lost = _mean([row["divergence"] / row["steps"] for row in rows], 3)
        made.append(
            f"| {ratio} | {_NAMES[kind]} | {layer} | {100 * read:.0f} % | {_percent(_same(rows))} "
            f"| {more} | {lost} | {_percent(_found(rows))} "
            f"| {_difference(_found(rows), _found(whole))} |"
        )
    tokens = fmean(one["prunable"] for one in contexts)
    made += [
        "",
        f"{len(contexts)} contexts of {tokens:,.0f} prunable tokens on average, "
        f"{fmean(row['steps'] for row in whole):.1f} decoding steps each. ± is one standard error "
        "over contexts; differences are paired by context, in points. "
        f"`{header['model']}` ({header['layers']} layers) in float32. {header['machine']}, commit "
        f"{header['commit']}.",
    ]
    return "\n".join(made)


def _same(rows: Sequence[dict[str, Any]]) -> list[float]:
    return [row["same"] / row["steps"] for row in rows]


def _found(rows: Sequence[dict[str, Any]]) -> list[float]:
    return [float(row["right"]) for row in rows]


def _mean(values: Sequence[float], digits: int, plus: str = "") -> str:
    mean, error = clustered_mean(values, [*map(str, range(len(values)))])
    return f"{mean:{plus}.{digits}f} ± {error or 0:.{digits}f}".replace("-", "−")


def _percent(values: Sequence[float]) -> str:
    return _mean([100 * value for value in values], 1)


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    paired = zip(values, others, strict=True)
    return _mean([100 * (value - other) for value, other in paired], 1, "+")
