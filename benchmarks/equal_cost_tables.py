"""What compression is for: more moments at the same number of tokens for the language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cells import Document, Row, baseline, by_spec, correct, difference, head, line
from benchmarks.comparison_tables import OWN

BUDGETS = (0.25, 0.1)
FEWER = "uniform-frames"
"""Whole frames, evenly spaced: what `--frames` gives without compression."""
ROWS = {
    f"{FEWER}:": "fewer frames, whole",
    "downsample:": "all frames, smaller",
    "random:": "all frames, tokens drawn at random",
    "uniform-spatial:merge_dropped=true:": "all frames, every n-th token, the others merged into "
    "them",
    f"{OWN}:": f"all frames, `{OWN}`",
}
"""By the beginning of a row's spec, what is done to the video."""


def equal_cost_sentence(document: Document) -> str:
    """How much more is answered from all frames than from a few, at the same number of tokens.

    Args:
        document: of methods with the same merging.
    """
    ahead = (document["ahead"][f"{FEWER}:retain={budget}"] for budget in BUDGETS)
    told = [
        f"{difference(pair).lstrip('+')} points at {_tokens(document, budget)}"
        for budget, pair in zip(BUDGETS, ahead, strict=True)
    ]
    return (
        f"**The same number of tokens, more moments.** A model reads a video better from all "
        f"frames compressed by `{OWN}` than from fewer whole ones: by {' and '.join(told)} visual "
        f"tokens ({document['videos']} test videos of the synthetic benchmark `shapes`, model "
        f"`{document['name']}`, {correct(baseline(document))} % correct with all "
        f"{_tokens(document, 1)})."
    )


def equal_cost_table(document: Document) -> str:
    """The ways to spend so many tokens on a video, minus the answers with all of them."""
    rows = by_spec(document)
    lines = head(
        f"{document['frames']} frames, {_tokens(document, 1)} visual tokens, reduced to",
        *(f"{_tokens(document, budget)}" for budget in BUDGETS),
    )
    for spec, name in ROWS.items():
        found = (rows.get(f"{spec}retain={budget}") for budget in BUDGETS)
        lines.append(line(name, *map(difference, found)))
    return "\n".join(lines)


def equal_cost_by_kind(document: Document) -> str:
    """The same by kind of question, at the first budget: correct answers in percent."""
    rows, base = by_spec(document), baseline(document)
    kinds = sorted(base["by_type"])
    lines = head("", *kinds)
    of_rows: Mapping[str, Row] = {
        f"all {_tokens(document, 1)} tokens": base,
        **{name: rows[f"{spec}retain={BUDGETS[0]}"] for spec, name in ROWS.items()},
    }
    for name, row in of_rows.items():
        lines.append(line(name, *(_accuracy(row["by_type"].get(kind)) for kind in kinds)))
    counts = (str(base["by_type"][kind]["questions"]) for kind in kinds)
    return "\n".join([*lines, line("questions", *counts)])


def _tokens(document: Document, budget: float) -> str:
    """Visual tokens of a video at a budget, as methods count them."""
    return f"{int(document['frames'] * document['per_frame'] * budget):,}"


def _accuracy(mean: Mapping[str, Any] | None) -> str:
    return "" if mean is None else f"{100 * mean['accuracy']:.0f}"
