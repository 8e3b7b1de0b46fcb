"""The table of what each rule of decode pruning lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import fmean
from typing import Any

from benchmarks.cells import PLUS_MINUS, line, table_lines
from benchmarks.decode_rules.ask_rules import PAPERS_LAYER, RuleAnswer
from benchmarks.decode_rules.figures import (
    Estimate,
    RuleFigures,
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
    papers = {  # the rule and layer of the paper, by P
        ratio: same_next_token(by_rule[rule])
        for ratio in {one.prune_ratio for one in by_rule}
        if (rule := Rule("dycoke", PAPERS_LAYER, ratio)) in by_rule
    }

    def more(row: RuleFigures) -> str:
        rule, ratio = row.rule, row.rule.prune_ratio
        if ratio not in papers or rule == Rule("dycoke", PAPERS_LAYER, ratio):
            return ""
        same = same_next_token(by_rule[rule])
        return _percent(Estimate.of_difference(same, papers[ratio]), "+")

    columns: dict[str, Callable[[RuleFigures], str]] = {
        "P": lambda row: str(row.rule.prune_ratio),
        "rule": lambda row: _NAMES[row.rule.kind],
        "first pruned layer": lambda row: str(row.rule.layer),
        "retention at decode": lambda row: f"{100 * row.retention_at_decode:.0f} %",
        "same first token, %": lambda row: "100",
        "same next token, %": lambda row: _percent(row.same_next_token),
        "more than DyCoke's at L = 3": more,
        "divergence, nats per token": lambda row: _shown(row.divergence, 3),
        "fact in a sentence, %": lambda row: _percent(row.facts_found),
        "difference from the full cache": lambda row: _percent(row.difference, "+"),
    }
    full = ("–", "full cache", "–", "100 %", "100", "100", "", "0", _percent(whole.facts_found), "")
    head, rule_below, *made = table_lines(columns, rest)
    made = [head, rule_below, line(*full), *made]
    tokens = fmean(one["prunable"] for one in contexts)
    made += [
        "",
        f"{len(contexts)} contexts of {tokens:,.0f} prunable tokens on average, "
        f"{fmean(one.steps for one in by_rule[Rule('full')]):.1f} decoding steps each. ± is "
        f"{PLUS_MINUS} contexts, of one model; differences are paired by context, in points. "
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


def _percent(one: Estimate | None, plus: str = "") -> str:
    assert one is not None  # only the full cache has no difference
    scaled = None if one.plus_minus is None else 100 * one.plus_minus
    return _shown(Estimate(100 * one.mean, scaled), 1, plus)


def _shown(one: Estimate, digits: int, plus: str = "") -> str:
    text = f"{one.mean:{plus}.{digits}f} ± {one.plus_minus or 0:.{digits}f}"
    return text.replace("-", "−")
