"""The table of what each rule of decode pruning lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from benchmarks.decode_rules.ask_rules import PAPERS_LAYER, RuleAnswer
from benchmarks.decode_rules.figures import (
    Estimate,
    figures,
    grouped,
    same_next_token,
)
from benchmarks.decode_rules.rules import Rule

_NAMES = {
    "dycoke": "DyCoke's",
    "random": "random",
    "index": "own index of each layer",
    "index per head": "own index of each KV head",
    "exact": "own exact scores of each layer",
    "pages": "pages of 16 tokens of each KV head (as Quest)",
}


def table(answers: bytes) -> str:
    """First token, agreement, divergence and exact match by rule, as Markdown."""
    header, *contexts = map(json.loads, answers.splitlines())
    by_rule = grouped([[*map(_answer, one["rows"])] for one in contexts])
    whole, *rest = figures(by_rule, header["layers"], header.get("windows", ()))
    made = [
        "| P | rule | first pruned layer | retention at decode | same first token, % "
        "| same next token, % | more than DyCoke's at L = 3 | divergence, nats per token "
        "| fact in a sentence, % | difference from the full cache |",
        "| --- " * 10 + "|",
        f"| – | full cache | – | 100 % | 100 | 100 | | 0 | {_percent(whole.facts_found)} | |",
    ]
    for row in rest:
        rule = row.rule
        # The paper's rule and layer, at the same P.
        paper = Rule("dycoke", PAPERS_LAYER, rule.prune_ratio)
        more = ""
        if paper in by_rule and rule != paper:
            same, papers = (same_next_token(by_rule[one]) for one in (rule, paper))
            more = _percent(Estimate.of_difference(same, papers), "+")
        assert row.difference is not None
        made.append(
            f"| {rule.prune_ratio} | {_NAMES[rule.kind]} | {rule.layer} "
            f"| {100 * row.retention_at_decode:.0f} % | 100 "
            f"| {_percent(row.same_next_token)} | {more} | {_shown(row.divergence, 3)} "
            f"| {_percent(row.facts_found)} | {_percent(row.difference, '+')} |"
        )
    tokens = fmean(one["prunable"] for one in contexts)
    made += [
        "",
        f"{len(contexts)} contexts of {tokens:,.0f} prunable tokens on average, "
        f"{fmean(one.steps for one in by_rule[Rule('full')]):.1f} decoding steps each. ± is one "
        "standard error over contexts; differences are paired by context, in points. "
        "The first token is the prefill's, the same by construction. "
        f"`{header['model']}` ({_layers(header)}) in float32. {header['machine']}, commit "
        f"{header['commit']}.",
    ]
    return "\n".join(made)


def _answer(row: dict[str, Any]) -> RuleAnswer:
    """An answer from a line's row, which has the keys of its rule among its own."""
    return RuleAnswer(Rule(row.pop("kind"), row.pop("layer"), row.pop("prune_ratio")), **row)


def _layers(header: dict[str, Any]) -> str:
    windows = len(header.get("windows", ()))
    sliding = f", {windows} of them with a sliding window and never pruned" if windows else ""
    return f"{header['layers']} layers{sliding}"


def mean(values: Sequence[float], digits: int, plus: str = "") -> str:
    """The mean of independent values and its standard error, with a sign if `plus` is one."""
    return _shown(Estimate.of(values), digits, plus)


def _percent(one: Estimate, plus: str = "") -> str:
    scaled = None if one.standard_error is None else 100 * one.standard_error
    return _shown(Estimate(100 * one.mean, scaled), 1, plus)


def _shown(one: Estimate, digits: int, plus: str = "") -> str:
    text = f"{one.mean:{plus}.{digits}f} ± {one.standard_error or 0:.{digits}f}"
    return text.replace("-", "−")
