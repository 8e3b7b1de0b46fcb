"""The tables of the fair comparison of methods, from the files of `benchmarks.methods`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
"""One file: a report of `dycoke eval`, and what `benchmarks.methods` adds to it."""
Row = Mapping[str, Any]
"""Of a report."""

CONTROLS = {"none": "baseline", "no-video": "blind (text only)", "one-frame": "single frame"}
"""Rows that aren't of a method, by their name."""


def short_table(document: Document) -> str:
    """Points from the baseline by method and budget, the best first; what has no budget below."""
    at_budgets, others = by_budget(document["report"]["rows"])
    budgets = sorted({budget for rows in at_budgets.values() for budget in rows}, reverse=True)
    lines = _head("method", *(f"{_percent(budget)} kept" for budget in budgets))
    for name in best_first(at_budgets):
        rows = at_budgets[name]
        cells = (_at_budget(rows[budget], budget) if budget in rows else "" for budget in budgets)
        lines.append(_line(f"`{name}`", *cells))
    without = [
        f"{_name(row)} {_difference(row)} ({_layer(row)}"
        f"{_percent(row['kept_before_llm'])} read at prefill, "
        f"{_percent(row['kept_in_decode'])} at decode)"
        for row in others
        if row["changed"] is not None and row["method"] not in CONTROLS
    ]
    told = f"Points from the baseline ({_correct(_baseline(document))} % correct)."
    if without:
        told += f" Without a budget, at their defaults: {'; '.join(without)}."
    return "\n".join(lines) + f"\n\n{told}"


def _layer(row: Row) -> str:
    layer = row["parameters"].get("prune_layer")
    return "" if layer is None else f"L = {layer}, "


def _at_budget(row: Row, budget: float) -> str:
    """The difference, and what was kept where a method's own least is more than the budget."""
    kept = _percent(row["kept_before_llm"])
    return _difference(row) + ("" if kept == _percent(budget) else f" ({kept})")


def models_table(documents: Mapping[str, Document], budget: float) -> str:
    """Each method at one budget, or as it is, model by model: points, and what is lost."""
    lines = _head("method", *(f"{name}{unit}" for name in documents for unit in ("", ", lost")))
    bases = {name: _baseline(document) for name, document in documents.items()}
    cells = (f"{100 * base['accuracy']:.1f}" for base in bases.values())
    lines.append(_line("baseline", *(cell for one in cells for cell in (one, ""))))
    tables = {}
    for name, document in documents.items():
        at_budgets, others = by_budget(document["report"]["rows"])
        found = [rows[budget] for rows in at_budgets.values() if budget in rows]
        found += [row for row in others if row["changed"] is not None]
        tables[name] = {_name(row): row for row in found}
    for method in dict.fromkeys(method for rows in tables.values() for method in rows):
        pairs = [(tables[name].get(method), bases[name]) for name in documents]
        cells = (cell for row, base in pairs for cell in (_difference(row), _lost(row, base)))
        lines.append(_line(method, *cells))
    return "\n".join(lines)


_FULL: dict[str, Callable[[Row, Mapping[str, Any], Row], str]] = {
    "method": lambda row, more, base: _name(row),
    "retention at prefill": lambda row, more, base: _percent(row["kept_before_llm"]),
    "at decode": lambda row, more, base: _percent(row["kept_in_decode"]),
    "correct, %": lambda row, more, base: _correct(row),
    "difference": lambda row, more, base: _difference(row),
    "wrong→right / right→wrong": lambda row, more, base: _moved(row),
    "lost": lambda row, more, base: _lost(row, base),
    "changed": lambda row, more, base: "" if row["changed"] is None else str(row["changed"]),
    "absent things": lambda row, more, base: _group(more["absent"]),
    "present things": lambda row, more, base: _group(more["present"]),
    "places": lambda row, more, base: _group(row["by_type"].get("position")),
    "events named": lambda row, more, base: _group(row["by_part"].get("told")),
    "in order": lambda row, more, base: _group(row["by_part"].get("ordered")),
    "prefill, ms": lambda row, more, base: _milliseconds(more["seconds_whole_prefill"]),
    "decode, ms": lambda row, more, base: _milliseconds(row["seconds_decode"]),
    "KV cache, MB": lambda row, more, base: f"{row['bytes'] / 1e6:.2f}",
}


def full_table(document: Document) -> str:
    """Every row with everything."""
    base = _baseline(document)
    lines = _head(*_FULL)
    for row in document["report"]["rows"]:
        more = document["more"][row["spec"]]
        lines.append(_line(*(cell(row, more, base) for cell in _FULL.values())))
    return "\n".join(lines)


def ahead_table(documents: Mapping[str, Document], own: str) -> str:
    """The project's method minus every other one, at each budget, model by model."""
    found: dict[str, dict[tuple[str, float], Mapping[str, Any]]] = {}
    budgets: dict[float, None] = {}
    for name, document in documents.items():
        rows = _rows(document)
        for spec, pair in document["ahead"].items():
            retain = rows[spec]["parameters"]["retain"]
            budgets[retain] = None
            found.setdefault(spec.partition(":")[0], {})[name, retain] = pair
    headings = _headings(documents, [f"{_percent(retain)} kept" for retain in budgets])
    lines = _head(f"{own} minus", *headings)
    for method, pairs in found.items():
        cells = [_difference(pairs.get((name, one))) for name in documents for one in budgets]
        lines.append(_line(f"`{method}`", *cells))
    return "\n".join(lines)


def positions_table(documents: Mapping[str, Document]) -> str:
    """Original against contiguous positions: both from the baseline, and from each other."""
    headings = ("original", "contiguous", "contiguous − original")
    lines = _head("method", *_headings(documents, headings))
    for spec, cells in _pairs(documents, "=kept", "=renumbered").items():
        lines.append(_line(f"`{spec.partition(':')[0]}`", *cells))
    return "\n".join(lines)


def vision_table(documents: Mapping[str, Document]) -> str:
    """Tokens dropped behind the vision tower alone, and inside it: as for positions."""
    headings = ("behind the tower", "inside the tower", "inside − behind")
    lines = _head("method", "retention at prefill", *_headings(documents, headings))
    rows = {spec: row for one in documents.values() for spec, row in _rows(one).items()}
    for spec, cells in _pairs(documents, "=llm", "=vision").items():
        kept = _percent(rows[spec]["kept_before_llm"])
        lines.append(_line(f"`{spec.partition(':')[0]}`", kept, *cells))
    return "\n".join(lines)


def _pairs(documents: Mapping[str, Document], one: str, other: str) -> dict[str, list[str]]:
    """Of each pair, by its first row: both from the baseline and from each other, model by model.

    Args:
        documents: by model.
        one: what the first row has.
        other: what the second one has in its place.
    """
    found: dict[str, list[str]] = {}
    rows = {name: _rows(document) for name, document in documents.items()}
    for spec in dict.fromkeys(spec for x in documents.values() for spec in x["pairs"]):
        cells = found.setdefault(spec, [])
        for name, document in documents.items():
            both = rows[name].get(spec), rows[name].get(spec.replace(one, other))
            cells += [*map(_difference, both), _difference(document["pairs"].get(spec))]
    return found


def layers_table(documents: Mapping[str, Document]) -> str:
    """DyCoke by L and P, and FastV by L."""
    ratios: dict[float, None] = {}
    found: dict[tuple[str, int], dict[str, dict[float, Row]]] = {}
    for name, document in documents.items():
        for row in document["report"]["rows"]:
            parameters = row["parameters"]
            if row["method"] != "none":
                key = row["method"], parameters["prune_layer"]
                ratios[parameters["prune_ratio"]] = None
                of_models = found.setdefault(key, {})
                of_models.setdefault(name, {})[parameters["prune_ratio"]] = row
    headings = _headings(documents, [f"P = {ratio:g}" for ratio in sorted(ratios)])
    lines = _head("method", "L", *headings)
    for (method, layer), of_models in found.items():
        cells = [
            _difference(of_models.get(name, {}).get(ratio))
            for name in documents
            for ratio in sorted(ratios)
        ]
        lines.append(_line(f"`{method}`", str(layer), *cells))
    return "\n".join(lines)


def rows_table(documents: Mapping[str, Document]) -> str:
    """Each row as it was asked for: what is read, and the difference on each model."""
    lines = _head("row", "retention at prefill", "at decode", *documents)
    rows = {name: _rows(document) for name, document in documents.items()}
    for spec in dict.fromkeys(spec for one in rows.values() for spec in one):
        of_models = [one.get(spec) for one in rows.values()]
        row = next(row for row in of_models if row is not None)
        read = _percent(row["kept_before_llm"]), _percent(row["kept_in_decode"])
        is_base = spec == "none"
        cells = [_correct(one) if one and is_base else _difference(one) for one in of_models]
        lines.append(_line("baseline" if is_base else f"`{spec}`", *read, *cells))
    return "\n".join(lines)


def whole_table(documents: Mapping[str, Document]) -> str:
    """Each row, and what the project's method is ahead of others at the same budget."""
    return f"{rows_table(documents)}\n\n{ahead_table(documents, 'dycoke-plus')}"


def windows_table(documents: Mapping[str, Document]) -> str:
    """TTM and DyCoke by the frames of a window."""
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for name, document in documents.items():
        for row in document["report"]["rows"]:
            if row["method"] != "none":
                key = row["method"], row["parameters"]["window"]
                found.setdefault(key, {})[name] = row
    lines = _head("method", "window", "retention at prefill", *documents)
    for (method, window), of_models in found.items():
        kept = _percent(next(iter(of_models.values()))["kept_before_llm"])
        cells = [_difference(of_models.get(name)) for name in documents]
        lines.append(_line(f"`{method}`", str(window), kept, *cells))
    return "\n".join(lines)


def frames_table(models: Mapping[str, Mapping[int, Document]]) -> str:
    """The baseline by the number of frames, and each row's difference from it.

    Args:
        models: for each the documents by their number of frames.
    """
    counts = sorted({count for documents in models.values() for count in documents})
    lines = _head("model", "method", *(f"{count} frames" for count in counts))
    for name, documents in models.items():
        rows = {count: _rows(document) for count, document in documents.items()}
        for spec in dict.fromkeys(spec for one in rows.values() for spec in one):
            cells = []
            for count in counts:
                row = rows.get(count, {}).get(spec)
                is_base = row is not None and row["method"] == "none"
                cells.append(_correct(row) if row is not None and is_base else _difference(row))
            method = "baseline" if spec == "none" else f"`{spec.replace(':positions=kept', '')}`"
            lines.append(_line(name, method, *cells))
    return "\n".join(lines)


def _baseline(document: Document) -> Row:
    return next(row for row in document["report"]["rows"] if row["spec"] == "none")


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


def _rows(document: Document) -> dict[str, Row]:
    return {row["spec"]: row for row in document["report"]["rows"]}


def _name(row: Row) -> str:
    name: str = row["method"]
    return CONTROLS.get(name, f"`{name}`")


def _headings(documents: Iterable[str], parts: Sequence[str]) -> list[str]:
    """A heading for each part of each model; the model isn't named where it is the only one."""
    names = [*documents]
    return [part if len(names) == 1 else f"{name}: {part}" for name in names for part in parts]


def _head(*headings: str) -> list[str]:
    return [_line(*headings), _line(*["---"] * len(headings))]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _difference(one: Mapping[str, Any] | None) -> str:
    """In points, of a row, a group or a pair; empty where it isn't compared, or isn't there."""
    if one is None or one["difference"] is None:
        return ""
    points = f"{100 * one['difference']:+.1f}".replace("-", "−")
    return f"{points} ± {100 * one['difference_error']:.1f}"


def _correct(row: Row) -> str:
    return f"{100 * row['accuracy']:.1f} ± {100 * row['standard_error']:.1f}"


def _group(one: Mapping[str, Any] | None) -> str:
    """The mean of some questions, and its difference."""
    if one is None:
        return ""
    mean = next(one[key] for key in ("accuracy", "mean", "value") if key in one)
    difference = _difference(one)
    return f"{100 * mean:.1f}" + (f" ({difference})" if difference else "")


def _moved(row: Row) -> str:
    return "" if row["changed"] is None else f"{row['fixed']} / {row['broken']}"


def _lost(row: Row | None, base: Row) -> str:
    """Of the answers that are correct in the baseline, those that no longer are."""
    if row is None or row["changed"] is None:
        return ""
    return _percent(row["broken"] / (base["accuracy"] * base["questions"]))


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"
