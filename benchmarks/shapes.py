"""The table of docs/results.md: DyCoke at several budgets, by kind of question and of video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cells import Row, correct, difference, head, line, percent

BUDGETS = (0.7, 0.5, 0.3)
PRUNE_LAYERS = (3, 6)
"""The paper's, and one in the middle, beside the bundled model's own."""
FASTV_LAYERS = (2, 9)
"""Its default, and where DyCoke prunes in the bundled model."""
LABELS = ("static", "mixed", "dynamic")
KINDS = ("order", "letter", "needle", "action")
NAMES = {
    "none": "baseline", "no-video": "blind (text only)", "one-frame": "single frame",
    "ttm": "TTM only",
    "kv": "KV pruning only", "dycoke": "DyCoke", "dycoke-once": "DyCoke, no recall",
    "random": "random + KV pruning", "fastv": "FastV",
}  # fmt: skip


def specs() -> list[str]:
    """The rows: controls, then each method at each budget, FastV and random at the same share."""
    rows = ["none", "no-video", "one-frame", "kv"]
    for ratio in BUDGETS:
        of_largest = ratio == BUDGETS[0]
        rows += [
            f"{name}:merge_ratio={ratio}:positions={positions}"
            for name in ("ttm", "dycoke", "dycoke-once", "random")
            for positions in (("kept", "renumbered") if of_largest else ("kept",))
        ]
        rows += [
            f"fastv:prune_ratio={0.75 * ratio:g}:prune_layer={layer}"
            for layer in (FASTV_LAYERS if of_largest else FASTV_LAYERS[:1])
        ]
    return rows + [f"dycoke:merge_ratio={BUDGETS[0]}:prune_layer={layer}" for layer in PRUNE_LAYERS]


def kinds_table(document: Mapping[str, Any]) -> str:
    """Every row, with accuracy by label and some kinds."""
    retention = ("retention at prefill", "at decode", "in pruned layers")
    columns = ["method", "K", "L", "positions", *retention, "correct, %", "difference"]
    columns += [*LABELS, *KINDS, "told in order", "changed", "wrong→right", "right→wrong"]
    lines = head(*columns)
    for row in document["rows"]:
        counts = (row[name] for name in ("changed", "fixed", "broken"))
        shares = (row[f"kept_{name}"] for name in ("before_llm", "in_decode"))
        lines.append(
            line(
                NAMES[row["method"]],
                _budget(row),
                _layer(row),
                _positions(row),
                *map(percent, shares),
                percent(row["kept_in_pruned_layers"]) if _layer(row) else "",
                correct(row),
                difference(row),
                *(_accuracy(row["by_label"].get(label)) for label in LABELS),
                *(_accuracy(row["by_type"].get(kind)) for kind in KINDS),
                f"{100 * row['by_part']['ordered']['accuracy']:.1f}",
                *("" if count is None else str(count) for count in counts),
            )
        )
    return "\n".join(lines)


def _budget(row: Row) -> str:
    parameters = row["parameters"]
    if row["method"] == "fastv":
        return f"{parameters['prune_ratio'] / 0.75:g}"
    return f"{parameters['merge_ratio']:g}" if parameters.get("ttm") else ""


def _layer(row: Row) -> str:
    pruned = row["parameters"].get("kv_prune", True)
    return str(row["parameters"].get("prune_layer", "")) if pruned else ""


def _positions(row: Row) -> str:
    return str(row["parameters"]["positions"]) if row["parameters"].get("ttm") else ""


def _accuracy(mean: Mapping[str, Any] | None) -> str:
    return "" if mean is None else f"{100 * mean['accuracy']:.1f}"
