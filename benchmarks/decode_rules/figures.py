"""What each rule lost, over all contexts: means, standard errors and paired differences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from benchmarks.decode_rules.ask_rules import RuleAnswer
from benchmarks.decode_rules.rules import Rule
from dycoke_cli.evaluation.scoring.statistics import shown_mean


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
