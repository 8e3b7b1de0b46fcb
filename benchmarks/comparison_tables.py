"""Tables of all methods on equal terms: with the same merging, and by kind of question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cells import Row, correct, difference, head, line, percent
from dycoke_cli.evaluation.scoring.statistics import holm

OWN = "dycoke-plus"
LAYERS = 10
"""Of the language model in the bundled model and in those trained from it."""
_AT_A_LAYER = ("dycoke", "fastv")
"""Methods whose accuracy depends on the layer that selects."""
DOWNSAMPLED = "downsample:retain=0.25"
"""The row that says which questions are hard."""
_HIDDEN = ("retain=", "positions=kept", "merge_dropped=", "prune_layer=")
_KINDS = {
    "hard": "downsampling wrong",
    "easy": "downsampling right",
    "follow_up": "second of a conversation",
    "description": "descriptions",
    "absent": "absent things",
    "present": "present things",
}


BY_HOLM = "p < 0.05 by Student's t with Holm's step-down procedure"
HOLM = f"*: {BY_HOLM}, over all rows that are compared at this budget on this model."


_FAIR = """### Methods with the same merging

Every method with a budget, on the model `{name}`: alone and, if it doesn't merge by itself, with \
its dropped tokens merged as in `dycoke-plus`. Settings that differ from the default were chosen \
on validation and are named in the row. The columns *dycoke-plus minus it* are paired, against the \
row with merging if there is one."""
_BY_KIND = """### By kind of question

The first two columns split the questions that the model `{name}` answers correctly without \
compression: those that it gets wrong with frames of a quarter of the pixels (`downsample` at \
25 %), and those that it still gets right, as in [VTC-Bench](https://arxiv.org/abs/2510.07143). \
Questions that a smaller picture answers say little about methods. The split follows the errors of \
one row, so compare the other rows there with each other, and not with that row at 10 %. Numbers \
of questions are in brackets; rows below the baseline are differences from it in percentage \
points."""


def label(spec: str) -> str:
    """A row without its budget and its layer, as tables name it."""
    name, *given = spec.split(":")
    shown = [one.replace("=", " = ") for one in given if not one.startswith(_HIDDEN)]
    added = " + merging" if "merge_dropped=true" in given else ""
    return ", ".join([f"`{name}`{added}", *shown])


def named(row: Row) -> str:
    """A row without its budget, with its layer of how many."""
    return label(row["spec"]) + layer_of(row)


def layer_of(row: Row) -> str:
    """The layer L of a row, of how many; empty for a method without one."""
    if row["method"] not in _AT_A_LAYER:
        return ""
    return f", L = {row['parameters']['prune_layer']} of {LAYERS}"


def with_holm(pairs: Mapping[str, dict[str, Any]]) -> None:
    """Add to each pair its p-value by Holm's procedure, among all of these."""
    adjusted = holm([pair["difference_p"] for pair in pairs.values()])
    for pair, p in zip(pairs.values(), adjusted, strict=True):
        pair["difference_p_holm"] = p


def compared(pair: Mapping[str, Any] | None) -> str:
    """A paired difference, marked as `HOLM` says."""
    return difference(pair) + (" *" if pair is not None and _apart(pair) else "")


def _apart(pair: Mapping[str, Any]) -> bool:
    return pair["difference_p_holm"] is not None and pair["difference_p_holm"] < 0.05


def fair_table(document: Mapping[str, Any]) -> str:
    """Each method at each budget alone, with dropped tokens merged, and against the project's own.

    The last is minus the row with merging where there is one, and minus the other where not.
    """
    rows = {row["spec"]: row for row in document["rows"]}
    budgets = sorted({row["parameters"]["retain"] for row in _budgeted(rows)}, reverse=True)
    found: dict[str, dict[tuple[float, bool], Row]] = {}
    for row in _budgeted(rows):
        merges = row["parameters"].get("merge_dropped") is True
        plain = ":".join(p for p in row["spec"].split(":") if not p.startswith("merge_dropped="))
        found.setdefault(label(plain), {})[row["parameters"]["retain"], merges] = row
    headings = [
        f"{percent(budget)}: {part}"
        for budget in budgets
        for part in ("alone", "with merging", f"{OWN} minus it")
    ]
    lines = head("method", *headings)
    for name, of in found.items():
        cells = []
        for budget in budgets:
            alone, merged = of.get((budget, False)), of.get((budget, True))
            last = merged or alone
            ahead = document["ahead"].get(last["spec"]) if last else None
            cells += [difference(alone), difference(merged), compared(ahead)]
        lines.append(line(name, *cells))
    base = rows["none"]
    return "\n".join(
        [*lines, "", f"Change from the baseline ({correct(base)} % correct), in percentage points."]
    )


def by_kind_table(document: Mapping[str, Any]) -> str:
    """Each row's difference from the baseline by kind of question."""
    more = document["more"]
    shown = [kind for kind in _KINDS if more["none"].get(kind) is not None]
    counts = (f"{_KINDS[kind]} ({more['none'][kind]['questions']})" for kind in shown)
    lines = head("row", "tokens kept", *counts)
    for row in document["rows"]:
        spec, is_base = row["spec"], row["spec"] == "none"
        cells = []
        for kind in shown:
            one = more[spec][kind]
            trivial = spec == DOWNSAMPLED and kind in ("hard", "easy")
            value = f"{100 * one['accuracy']:.1f} %" if is_base else difference(one)
            cells.append("" if trivial else value)
        name = "baseline" if is_base else named(row)
        lines.append(line(name, percent(row["kept_before_llm"]), *cells))
    return "\n".join(lines)


def fair_section(document: Mapping[str, Any]) -> str:
    """That table under its heading."""
    return f"{_FAIR.format(name=document['name'])}\n\n{fair_table(document)}"


def by_kind_section(document: Mapping[str, Any]) -> str:
    """Likewise."""
    return f"{_BY_KIND.format(name=document['name'])}\n\n{by_kind_table(document)}"


def ahead_section(
    document: Mapping[str, Any],
    compared: str = "every other method was compared alone and with merging",
) -> str:
    """The methods that ours isn't clearly ahead of, at each budget."""
    rows = {row["spec"]: row for row in document["rows"]}
    base = correct(rows["none"])
    told = [f"On `{document['name']}` ({base} % correct uncompressed), {compared}."]
    for budget in sorted({row["parameters"]["retain"] for row in _budgeted(rows)}, reverse=True):
        pairs = {
            label(spec): pair
            for spec, pair in document["ahead"].items()
            if rows[spec]["parameters"]["retain"] == budget
        }
        level = [
            f"{name} ({difference(pair)})"
            for name, pair in pairs.items()
            if pair["difference"] < 0 or not _apart(pair)
        ]
        clear = len(pairs) - len(level)
        but = f" It doesn't lead {', '.join(level)}." if level else ""
        told.append(
            f"At {percent(budget)} kept, `{OWN}` leads {clear} of {len(pairs)} ({BY_HOLM} "
            f"over these {len(pairs)}).{but}"
        )
    return " ".join(told)


def _budgeted(rows: Mapping[str, Row]) -> list[Row]:
    return [row for row in rows.values() if row["parameters"].get("retain") is not None]
