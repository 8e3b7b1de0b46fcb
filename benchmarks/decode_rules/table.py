"""The table of what each rule of decode pruning lost."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.page import ROOT
from dycoke_cli.evaluation.statistics import clustered_mean

DATA, PAGE = ROOT / "docs" / "data", ROOT / "docs" / "evidence.md"
_NAMES = {
    "full": "full cache",
    "dycoke": "DyCoke's rule",
    "random": "random",
    "index": "each layer by its own index",
    "index per head": "each KV head by its own index",
    "exact": "each layer by its own exact scores",
    "pages": "each KV head by pages of 16 (as Quest)",
}


def table(file: Path) -> str:
    """Agreement, divergence and exact match by rule, as Markdown.

    Args:
        file: of answers, compressed.
    """
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        header, *contexts = map(json.loads, lines)
    by_rule: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for one in contexts:
        for row in one["rows"]:
            by_rule[row["prune_ratio"], row["kind"], row["layer"]].append(row)
    lines_of = [
        "| P | rule | first pruned layer | next token as the full cache's | divergence, nats "
        "a token | fact named |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (ratio, kind, layer), rows in by_rule.items():
        shown = "–" if kind == "full" else str(layer)
        lines_of.append(
            f"| {ratio or '–'} | {_NAMES[kind]} | {shown} "
            f"| {_percent(row['same'] / row['steps'] for row in rows)} "
            f"| {fmean(row['divergence'] / row['steps'] for row in rows):.3f} "
            f"| {_percent(float(row['right']) for row in rows)} |"
        )
    tokens = fmean(one["prunable"] for one in contexts)
    lines_of += [
        "",
        f"± is one standard error over contexts. {len(contexts)} contexts of {tokens:,.0f} "
        f"prunable tokens on average, answers of at most 16 tokens, `{header['model']}` "
        f"({header['layers']} layers), float32. {header['machine']}, commit {header['commit']}.",
    ]
    return "\n".join(lines_of)


def _percent(values: Iterable[float]) -> str:
    known = [*values]
    mean, error = clustered_mean(known, [*map(str, range(len(known)))])
    return f"{100 * mean:.1f} ± {100 * (error or 0):.1f} %"
