"""What compression is for: more moments at the same number of tokens for the language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cells import Document, Row, baseline, by_spec, correct, difference, head, line
from benchmarks.comparison_tables import OWN
from benchmarks.event_lengths import EVENTS

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


def equal_cost_caption(document: Document) -> str:
    """What the differences are from."""
    return (
        f"Change from the {correct(baseline(document))} % correct with all "
        f"{_tokens(document, 1)} tokens, in percentage points."
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
    base = baseline(document)
    kinds = sorted(base["by_type"])
    lines = head("", *kinds)
    for name, row in _at_first_budget(document).items():
        lines.append(line(name, *(_accuracy(row["by_type"].get(kind)) for kind in kinds)))
    counts = (str(base["by_type"][kind]["questions"]) for kind in kinds)
    return "\n".join([*lines, line("questions", *counts)])


def equal_cost_by_length(document: Document) -> str:
    """The same by how long the event lasts that is asked for; rows below the first: differences."""
    more = document["more"]
    shown = [name for name in EVENTS if more["none"].get(name) is not None]
    lines = head("", *(f"{name} ({more['none'][name]['questions']})" for name in shown))
    for name, row in _at_first_budget(document).items():
        cells = [more[row["spec"]][length] for length in shown]
        if row["spec"] == "none":
            lines.append(line(name, *(f"{100 * one['accuracy']:.1f} %" for one in cells)))
        else:
            lines.append(line(name, *map(difference, cells)))
    return "\n".join(lines)


def _at_first_budget(document: Document) -> Mapping[str, Row]:
    """The rows of tables that have one budget, by name, all tokens first."""
    rows = by_spec(document)
    return {
        f"all {_tokens(document, 1)} tokens": baseline(document),
        **{name: rows[f"{spec}retain={BUDGETS[0]}"] for spec, name in ROWS.items()},
    }


def _tokens(document: Document, budget: float) -> str:
    """Visual tokens of a video at a budget, as methods count them."""
    return f"{int(document['frames'] * document['per_frame'] * budget):,}"


def _accuracy(mean: Mapping[str, Any] | None) -> str:
    return "" if mean is None else f"{100 * mean['accuracy']:.0f}"
