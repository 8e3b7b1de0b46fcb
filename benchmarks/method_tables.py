"""The tables of the fair comparison of methods, from the figures of `method_figures`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.cells import (
    Document,
    Row,
    baseline,
    by_spec,
    correct,
    difference,
    group,
    head,
    line,
    lost,
    milliseconds,
    moved,
    percent,
)
from benchmarks.comparison_tables import (
    HOLM,
    LAYERS,
    compared,
    label,
    layer_of,
    named,
)

CONTROLS = {"none": "baseline", "no-video": "blind (text only)", "one-frame": "single frame"}
"""Rows that aren't of a method, by their name."""


def short_table(document: Document) -> str:
    """Change from the baseline by method and budget, best first; rows without a budget below."""
    at_budgets, others = by_budget(document["rows"])
    budgets = sorted({budget for rows in at_budgets.values() for budget in rows}, reverse=True)
    lines = head("method", *(f"{percent(budget)} kept" for budget in budgets))
    for name in best_first(at_budgets):
        rows = at_budgets[name]
        cells = (_at_budget(rows[budget], budget) if budget in rows else "" for budget in budgets)
        lines.append(line(f"`{name}`", *cells))
    without = [
        f"{_name(row)}: {difference(row)} ({percent(row['kept_before_llm'])} read at prefill, "
        f"{percent(row['kept_in_decode'])} at decode)"
        for row in others
        if row["changed"] is not None and row["method"] not in CONTROLS
    ]
    told = (
        f"Change from the baseline ({correct(baseline(document))} % correct), in percentage points."
    )
    if without:
        told += f" Without a budget, at their defaults: {'; '.join(without)}."
    return "\n".join(lines) + f"\n\n{told}"


def _at_budget(row: Row, budget: float) -> str:
    """The difference, and what was kept where a method's own least is more than the budget."""
    kept = percent(row["kept_before_llm"])
    return difference(row) + ("" if kept == percent(budget) else f" ({kept})")


def models_table(documents: Mapping[str, Document], budget: float) -> str:
    """Each method at one budget, or as it is, model by model: points, and what is lost."""
    lines = head("method", *(f"{name}{unit}" for name in documents for unit in ("", ", lost")))
    bases = {name: baseline(document) for name, document in documents.items()}
    cells = (f"{100 * base['accuracy']:.1f}" for base in bases.values())
    lines.append(line("baseline", *(cell for one in cells for cell in (one, ""))))
    tables = {}
    for name, document in documents.items():
        at_budgets, others = by_budget(document["rows"])
        found = [rows[budget] for rows in at_budgets.values() if budget in rows]
        found += [row for row in others if row["changed"] is not None]
        tables[name] = {_name(row): row for row in found}
    for method in dict.fromkeys(method for rows in tables.values() for method in rows):
        pairs = [(tables[name].get(method), bases[name]) for name in documents]
        cells = (cell for row, base in pairs for cell in (difference(row), lost(row, base)))
        lines.append(line(method, *cells))
    return "\n".join(lines)


_FULL: dict[str, Callable[[Row, Mapping[str, Any], Row], str]] = {
    "method": lambda row, more, base: _name(row),
    "retention at prefill": lambda row, more, base: percent(row["kept_before_llm"]),
    "at decode": lambda row, more, base: percent(row["kept_in_decode"]),
    "correct, %": lambda row, more, base: correct(row),
    "difference": lambda row, more, base: difference(row),
    "wrong→right / right→wrong": lambda row, more, base: moved(row),
    "lost": lambda row, more, base: lost(row, base),
    "changed": lambda row, more, base: "" if row["changed"] is None else str(row["changed"]),
    "absent things": lambda row, more, base: group(more["absent"]),
    "present things": lambda row, more, base: group(more["present"]),
    "places": lambda row, more, base: group(row["by_type"].get("position")),
    "events named": lambda row, more, base: group(row["by_part"].get("told")),
    "in order": lambda row, more, base: group(row["by_part"].get("ordered")),
    "prefill, ms": lambda row, more, base: milliseconds(more["seconds_whole_prefill"]),
    "decode, ms": lambda row, more, base: milliseconds(row["seconds_decode"]),
    "KV cache, MB": lambda row, more, base: f"{row['bytes'] / 1e6:.2f}",
}


def full_table(document: Document) -> str:
    """Every row with everything."""
    base = baseline(document)
    lines = head(*_FULL)
    for row in document["rows"]:
        more = document["more"][row["spec"]]
        lines.append(line(*(cell(row, more, base) for cell in _FULL.values())))
    return "\n".join(lines)


def by_type_table(document: Document) -> str:
    """Correct answers by kind of question, the best first, without compression and with DyCoke."""
    base = baseline(document)
    own = next(row for row in document["rows"] if row["method"] == "dycoke")
    kinds = sorted(base["by_type"], key=lambda kind: -base["by_type"][kind]["accuracy"])
    lines = head("kind", "questions", "correct, %", named(own), "difference")
    for kind in kinds:
        one, other = base["by_type"][kind], own["by_type"][kind]
        lines.append(
            line(kind, str(one["questions"]), correct(one), correct(other), difference(other))
        )
    for part, name in (("told", "description: events named"), ("ordered", "in the right order")):
        one, other = (row["by_part"][part] for row in (base, own))
        lines.append(
            line(name, str(one["questions"]), correct(one), correct(other), difference(other))
        )
    cells = str(base["questions"]), correct(base), correct(own), difference(own)
    return "\n".join([*lines, line("all", *cells)])


def ahead_table(documents: Mapping[str, Document]) -> str:
    """The project's method minus every other one, at each budget, model by model."""
    found: dict[str, dict[tuple[str, float], Mapping[str, Any]]] = {}
    budgets: dict[float, None] = {}
    for name, document in documents.items():
        rows = by_spec(document)
        for spec, pair in document["ahead"].items():
            retain = rows[spec]["parameters"]["retain"]
            budgets[retain] = None
            found.setdefault(label(spec), {})[name, retain] = pair
    headings = _headings(documents, [f"{percent(retain)} kept" for retain in budgets])
    lines = head("dycoke-plus minus", *headings)
    for method, pairs in found.items():
        cells = [compared(pairs.get((name, one))) for name in documents for one in budgets]
        lines.append(line(method, *cells))
    return "\n".join(lines)


def positions_table(documents: Mapping[str, Document]) -> str:
    """Original against contiguous positions: both from the baseline, and from each other."""
    headings = ("original", "contiguous", "contiguous − original")
    lines = head("method", *_headings(documents, headings))
    for spec, cells in _pairs(documents, "=kept", "=renumbered").items():
        lines.append(line(f"`{spec.partition(':')[0]}`", *cells))
    return "\n".join(lines)


def vision_table(documents: Mapping[str, Document]) -> str:
    """Tokens dropped behind the vision tower alone, and inside it: as for positions."""
    headings = ("behind the tower", "inside the tower", "inside − behind")
    lines = head("method", "retention at prefill", *_headings(documents, headings))
    rows = {spec: row for one in documents.values() for spec, row in by_spec(one).items()}
    for spec, cells in _pairs(documents, "=llm", "=vision").items():
        kept = percent(rows[spec]["kept_before_llm"])
        lines.append(line(f"`{spec.partition(':')[0]}`", kept, *cells))
    return "\n".join(lines)


def _pairs(documents: Mapping[str, Document], one: str, other: str) -> dict[str, list[str]]:
    """Of each pair, by its first row: both from the baseline and from each other, model by model.

    Args:
        other: what the second one has in its place.
    """
    found: dict[str, list[str]] = {}
    rows = {name: by_spec(document) for name, document in documents.items()}
    for spec in dict.fromkeys(spec for x in documents.values() for spec in x["pairs"]):
        cells = found.setdefault(spec, [])
        for name, document in documents.items():
            both = rows[name].get(spec), rows[name].get(spec.replace(one, other))
            cells += [*map(difference, both), difference(document["pairs"].get(spec))]
    return found


def layers_table(documents: Mapping[str, Document]) -> str:
    """DyCoke by L and P, and FastV by L."""
    ratios: dict[float, None] = {}
    found: dict[tuple[str, int], dict[str, dict[float, Row]]] = {}
    for name, document in documents.items():
        for row in document["rows"]:
            parameters = row["parameters"]
            if row["method"] != "none":
                key = row["method"], parameters["prune_layer"]
                ratios[parameters["prune_ratio"]] = None
                of_models = found.setdefault(key, {})
                of_models.setdefault(name, {})[parameters["prune_ratio"]] = row
    headings = _headings(documents, [f"P = {ratio:g}" for ratio in sorted(ratios)])
    lines = head("method", "L", *headings)
    for (method, layer), of_models in found.items():
        cells = [
            difference(of_models.get(name, {}).get(ratio))
            for name in documents
            for ratio in sorted(ratios)
        ]
        lines.append(line(f"`{method}`", f"{layer} of {LAYERS}", *cells))
    return "\n".join(lines)


def rows_table(documents: Mapping[str, Document]) -> str:
    """Each row as it was asked for: what is read, and the difference on each model.

    Where models read different shares, theirs stand in the order of the columns.
    """
    lines = head("row", "retention at prefill", "at decode", *documents)
    rows = {name: by_spec(document) for name, document in documents.items()}
    for spec in dict.fromkeys(spec for one in rows.values() for spec in one):
        of_models = [one.get(spec) for one in rows.values()]
        read = (_of_each(of_models, key) for key in ("kept_before_llm", "kept_in_decode"))
        is_base = spec == "none"
        cells = [correct(one) if one and is_base else difference(one) for one in of_models]
        name = f"`{spec}`{layer_of(next(filter(None, of_models)))}"
        lines.append(line("baseline" if is_base else name, *read, *cells))
    return "\n".join(lines)


def _of_each(rows: Iterable[Row | None], key: str) -> str:
    """A share of a row in percent, once where all models have the same."""
    shares = [percent(row[key]) for row in rows if row is not None]
    return shares[0] if len({*shares}) == 1 else " / ".join(shares)


def whole_table(documents: Mapping[str, Document]) -> str:
    """Each row, and what the project's method is ahead of others at the same budget."""
    return "\n\n".join([rows_table(documents), ahead_table(documents), HOLM])


def int8_table(pairs: Mapping[str, tuple[Document, Document]]) -> str:
    """Merging before vision with full weights and with int8 ones."""
    first = next(iter(pairs.values()))[0]
    lines = head("row", "tokens kept", *_headings(pairs, (first["model"]["dtype"], "int8")))
    for spec in by_spec(first):
        both = [by_spec(document)[spec] for pair in pairs.values() for document in pair]
        name = "baseline" if spec == "none" else named(both[0])
        kept = percent(both[0]["kept_before_llm"])
        lines.append(line(name, kept, *(_of_its_own(row) for row in both)))
    return "\n".join(lines)


def _of_its_own(row: Row) -> str:
    """Correct, and the difference from the baseline of the same weights."""
    apart = difference(row)
    return f"{correct(row)} ({apart})" if apart else correct(row)


def windows_table(documents: Mapping[str, Document]) -> str:
    """TTM and DyCoke by the frames of a window."""
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for name, document in documents.items():
        for row in document["rows"]:
            if row["method"] != "none":
                key = row["method"], row["parameters"]["window"]
                found.setdefault(key, {})[name] = row
    lines = head("method", "window", "retention at prefill", *documents)
    for (method, window), of_models in found.items():
        kept = percent(next(iter(of_models.values()))["kept_before_llm"])
        cells = [difference(of_models.get(name)) for name in documents]
        lines.append(line(f"`{method}`", str(window), kept, *cells))
    return "\n".join(lines)


def frames_table(models: Mapping[str, Mapping[int, Document]]) -> str:
    """The baseline by the number of frames, and each row's difference from it."""
    counts = sorted({count for documents in models.values() for count in documents})
    lines = head("model", "method", *(f"{count} frames" for count in counts))
    for name, documents in models.items():
        rows = {count: by_spec(document) for count, document in documents.items()}
        for spec in dict.fromkeys(spec for one in rows.values() for spec in one):
            cells = []
            for count in counts:
                row = rows.get(count, {}).get(spec)
                is_base = row is not None and row["method"] == "none"
                cells.append(correct(row) if row is not None and is_base else difference(row))
            method = "baseline" if spec == "none" else f"`{spec.replace(':positions=kept', '')}`"
            lines.append(line(name, method, *cells))
    return "\n".join(lines)


def by_budget(rows: Iterable[Row]) -> tuple[dict[str, dict[float, Row]], list[Row]]:
    """The rows of each method by its budget; and those without one."""
    budgeted: dict[str, dict[float, Row]] = {}
    others = []
    for row in rows:
        retain = row["parameters"].get("retain")
        if retain is None:
            others.append(row)
        else:
            budgeted.setdefault(row["method"], {})[retain] = row
    return budgeted, others


def best_first(budgeted: Mapping[str, Mapping[float, Row]]) -> list[str]:
    """Methods by their mean accuracy over budgets."""

    def mean(name: str) -> float:
        rows = budgeted[name].values()
        return sum(row["accuracy"] for row in rows) / len(rows)

    return sorted(budgeted, key=mean, reverse=True)


def _name(row: Row) -> str:
    name: str = row["method"]
    return CONTROLS.get(name, f"`{name}`{layer_of(row)}")


def _headings(documents: Iterable[str], parts: Sequence[str]) -> list[str]:
    """A heading for each part of each model; the model isn't named where it is the only one."""
    names = [*documents]
    return [part if len(names) == 1 else f"{name}: {part}" for name in names for part in parts]


def one_model_table(documents: Mapping[str, Document]) -> str:
    """For a first look: each method's points at each budget, or as it is, model by model."""
    cells: dict[str, dict[tuple[str, float | None], str]] = {}
    for model, document in documents.items():
        for row in document["rows"]:
            name, budget = named(row), row["parameters"].get("retain")
            if budget is not None:
                cell = _at_budget(row, budget)
            elif row["spec"] == "none":
                name, cell = "baseline", f"{correct(row)} %"
            else:
                read = percent(row["kept_before_llm"]), percent(row["kept_in_decode"])
                cell = f"{difference(row)} ({read[0]} kept, decode reads {read[1]})"
            cells.setdefault(name, {})[model, budget] = cell
    rows = (row for document in documents.values() for row in document["rows"])
    budgets = sorted({budget for rows in by_budget(rows)[0].values() for budget in rows})[::-1]
    headings = ("as it is", *(f"{percent(budget)} kept" for budget in budgets))
    lines = head("method", *_headings(documents, headings))
    columns = [(model, budget) for model in documents for budget in (None, *budgets)]
    lines += [line(name, *(of.get(column, "") for column in columns)) for name, of in cells.items()]
    return "\n".join(lines)
