"""Table of `dycoke verify --decode-rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from dycoke_cli.cli.render.figures import headed, with_texts
from dycoke_cli.unicode import one_line

if TYPE_CHECKING:
    from dycoke_cli.verification.decode_rules.rule_figures import Estimate
    from dycoke_cli.verification.decode_rules.run_decode_rules import DecodeRulesReport

_NAMES = {
    "full": "full cache",
    "dycoke": "DyCoke's",
    "random": "random",
    "index": "index per layer",
    "index per head": "index per head",
    "exact": "exact scores",
    "pages": "pages (as Quest)",
}


def table(report: DecodeRulesReport) -> Group:
    """Table of all rules, with what its columns mean below."""
    headings = ("P", "Rule", "L", "Read", "First", "Next token", "Fact found", "Difference")
    rows = with_texts(headed(*headings), ("Rule",))
    for one in report.rules:
        full = one.difference is None
        rows.add_row(
            "–" if full else f"{one.prune_ratio:g}",
            _NAMES[one.rule],
            "–" if full else str(one.first_pruned_layer),
            f"{100 * one.retention_at_decode:.0f} %",
            f"{100 * one.same_first_token:.0f}",
            _percent(one.same_next_token),
            _percent(one.facts_found),
            "" if one.difference is None else _percent(one.difference, "+"),
        )
    return Group(rows, Text(), Text(one_line(_measured(report))), Text(_EXPLAINED, style="dim"))


_EXPLAINED = (
    "P: fraction evicted. L: first pruned layer. Read: prunable tokens attended to, mean over "
    "layers. First, Next token: answers with the full cache's first token (the prefill decides it, "
    "as it does a letter of multiple choice); decoding steps with its next token. Fact found: "
    "answers with the fact in a sentence. In %, ± one standard error; differences are paired. "
    "DyCoke's is --method dycoke --prune-layer L --prune-ratio P. Index per layer is --method "
    "dycoke-plus --kv-prune --prune-ratio P, per head with --per-head. The others are controls."
)


def _measured(report: DecodeRulesReport) -> str:
    """What was measured, in a sentence."""
    model = report.model
    sliding = len(report.sliding_window_layers)
    never = f", {sliding} of them with a sliding window and never pruned" if sliding else ""
    return (
        f"{report.contexts} contexts of {report.prunable_tokens:,.0f} prunable tokens, "
        f"{report.decode_steps:.1f} decoding steps each; {model.name} ({model.layers} layers"
        f"{never}), {model.dtype}."
    )


def _percent(one: Estimate, plus: str = "") -> str:
    error = "" if one.standard_error is None else f" ± {100 * one.standard_error:.1f}"
    return f"{100 * one.mean:{plus}.1f}{error}".replace("-", "−")
