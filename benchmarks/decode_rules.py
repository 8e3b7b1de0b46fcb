"""The table of what each rule of decode pruning lost, on text.

`python -m benchmarks.decode_rules` prints the tables of the answers in docs/data, `--write` puts
them into docs/data/tables. The answers were measured by the command of this name at commit
bcf860ee, which also asks other models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.cells import PLUS_MINUS, line, table_lines
from benchmarks.kept_answers import tables_of
from benchmarks.kept_tables import report
from dycoke_cli.evaluation.scoring.statistics import shown_mean

PAPERS_LAYER = 3
_NAMES = {
    "dycoke": "DyCoke's",
    "random": "random",
    "index": "own index of each layer",
    "index per head": "own index of each KV head",
    "exact": "own exact scores of each layer",
    "pages": "pages of 16 tokens of each KV head (as Quest)",
}


@dataclass(frozen=True)
class Rule:
    """How a row selects: `full` selects everything, see `_NAMES` for the others."""

    kind: str
    layer: int = 0  # the first pruned one
    prune_ratio: float = 0.0  # P, of the prunable tokens


@dataclass(frozen=True)
class RuleAnswer:
    """What a rule made of a context."""

    rule: Rule  # how it selected
    steps: int  # decoding steps of the full cache's answer
    same: int  # steps whose most probable token is the full cache's
    divergence: float  # KL(full cache ‖ rule) over these steps, in nats
    text: str  # the answer under the rule, as far as it tells whether the fact is in it
    right: bool  # whether the fact is in it


@dataclass(frozen=True)
class Estimate:
    """A mean over contexts."""

    mean: float
    plus_minus: float | None
    """None for a single context."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Mean of independent values, at least one, and its ± (`cells.PLUS_MINUS`)."""
        mean, error = shown_mean(values, [*map(str, range(len(values)))])
        assert mean is not None
        return cls(mean, error)

    @classmethod
    def of_difference(cls, values: Sequence[float], others: Sequence[float]) -> Estimate:
        """Mean of the differences of pairs, and its ±."""
        return cls.of([value - other for value, other in zip(values, others, strict=True)])


@dataclass(frozen=True)
class RuleFigures:
    """What a rule lost."""

    rule: Rule  # how it selects
    retention_at_decode: float  # prunable tokens attended to, mean over layers
    same_next_token: Estimate  # share of decoding steps with the full cache's most probable token
    divergence: Estimate  # KL(full cache ‖ rule), in nats per token
    facts_found: Estimate  # share of answers that contain the fact
    difference: Estimate | None  # of `facts_found` from the full cache, paired; None of that itself


def same_next_token(answers: Sequence[RuleAnswer]) -> list[float]:
    """By context the share of steps with the full cache's most probable token."""
    return [one.same / one.steps for one in answers]


def figures(
    by_rule: dict[Rule, list[RuleAnswer]], layers: int, windows: Collection[int]
) -> list[RuleFigures]:
    """Figures of every rule, in the given order; the full cache is among them."""
    pruned = {*range(layers)} - {*windows}
    whole = [float(one.right) for one in by_rule[Rule("full")]]
    made = []
    for rule, answers in by_rule.items():
        found = [float(one.right) for one in answers]
        reads_less = sum(layer >= rule.layer for layer in pruned)
        made.append(
            RuleFigures(
                rule=rule,
                retention_at_decode=1 - rule.prune_ratio * reads_less / layers,
                same_next_token=Estimate.of(same_next_token(answers)),
                divergence=Estimate.of([one.divergence / one.steps for one in answers]),
                facts_found=Estimate.of(found),
                difference=None if rule.kind == "full" else Estimate.of_difference(found, whole),
            )
        )
    return made


def grouped(contexts: Sequence[Sequence[RuleAnswer]]) -> dict[Rule, list[RuleAnswer]]:
    """By rule its answers to all contexts, in their order."""
    by_rule: dict[Rule, list[RuleAnswer]] = {}
    for answers in contexts:
        for one in answers:
            by_rule.setdefault(one.rule, []).append(one)
    return by_rule


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


if __name__ == "__main__":
    report(__doc__, lambda: tables_of("decode-rules", table))
