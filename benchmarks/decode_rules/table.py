"""The table of what each rule of decode pruning lost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
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


def table(answers: bytes) -> str:
    """First token, agreement, divergence and exact match by rule, as Markdown.

    Args:
        answers: lines of JSON, the header first.
    """
    header, *contexts = map(json.loads, answers.splitlines())
    pruned = {*range(header["layers"])} - {*header.get("windows", ())}
    by_rule: dict[tuple[float, str, int], list[dict[str, Any]]] = defaultdict(list)
    for one in contexts:
        for row in one["rows"]:
            by_rule[row["prune_ratio"], row["kind"], row["layer"]].append(row)
    whole = by_rule.pop((0.0, "full", 0))
    made = [
        "| P | rule | first pruned layer | retention at decode | same first token, % "
        "| same next token, % | more than DyCoke's at L = 3 | divergence, nats per token "
        "| fact in a sentence, % | difference from the full cache |",
        "| --- " * 10 + "|",
        f"| – | full cache | – | 100 % | 100 | 100 | | 0 | {_percent(_found(whole))} | |",
    ]
    for (ratio, kind, layer), rows in by_rule.items():
        read = 1 - ratio * sum(one >= layer for one in pruned) / header["layers"]
        paper = by_rule.get((ratio, *_PAPERS))
        more = _difference(_same(rows), _same(paper)) if paper and paper is not rows else ""
        lost = mean([row["divergence"] / row["steps"] for row in rows], 3)
        made.append(
            f"| {ratio} | {_NAMES[kind]} | {layer} | {100 * read:.0f} % | 100 "
            f"| {_percent(_same(rows))} "
            f"| {more} | {lost} | {_percent(_found(rows))} "
            f"| {_difference(_found(rows), _found(whole))} |"
        )
    tokens = fmean(one["prunable"] for one in contexts)
    made += [
        "",
        f"{len(contexts)} contexts of {tokens:,.0f} prunable tokens on average, "
        f"{fmean(row['steps'] for row in whole):.1f} decoding steps each. ± is one standard error "
        "over contexts; differences are paired by context, in points. "
        "The first token is the prefill's, the same by construction. "
        f"`{header['model']}` ({_layers(header)}) in float32. {header['machine']}, commit "
        f"{header['commit']}.",
    ]
    return "\n".join(made)


def _layers(header: dict[str, Any]) -> str:
    windows = len(header.get("windows", ()))
    sliding = f", {windows} of them with a sliding window and never pruned" if windows else ""
    return f"{header['layers']} layers{sliding}"


def _same(rows: Sequence[dict[str, Any]]) -> list[float]:
    return [row["same"] / row["steps"] for row in rows]


def _found(rows: Sequence[dict[str, Any]]) -> list[float]:
    return [float(row["right"]) for row in rows]


def mean(values: Sequence[float], digits: int, plus: str = "") -> str:
    """The mean of independent values and its standard error, with a sign if `plus` is one."""
    mean, error = clustered_mean(values, [*map(str, range(len(values)))])
    return f"{mean:{plus}.{digits}f} ± {error or 0:.{digits}f}".replace("-", "−")


def _percent(values: Sequence[float]) -> str:
    return mean([100 * value for value in values], 1)


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    paired = zip(values, others, strict=True)
    return mean([100 * (value - other) for value, other in paired], 1, "+")
