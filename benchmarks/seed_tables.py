"""The same rows on models that were trained alike but for the seed, and the error between them.

± of every other table covers the questions of one model. What another training run of the same
recipe would give is the standard deviation here, of few models.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.cells import (
    Document,
    baseline,
    by_spec,
    correct,
    difference,
    head,
    line,
    percent,
    points,
)
from benchmarks.comparison_tables import named


def seeds_table(documents: Mapping[str, Document]) -> str:
    """Each row's accuracy on each model, minus the model's own baseline; their mean and spread."""
    if len({document["videos"] for document in documents.values()}) > 1:
        raise ValueError("the models were asked about different videos; export as many of each")
    lines = head("row", "kept", *documents, "mean", "between models")
    bases = [baseline(document) for document in documents.values()]
    accuracies = [base["accuracy"] for base in bases]
    cells = [f"{correct(base)} %" for base in bases]
    lines.append(line("baseline", "", *cells, f"{100 * statistics.mean(accuracies):.1f} %",
                      _spread(accuracies)))  # fmt: skip
    for spec in by_spec(next(iter(documents.values()))):
        if spec == "none":
            continue
        rows = [by_spec(document)[spec] for document in documents.values()]
        found = [row["difference"] for row in rows]
        lines.append(
            line(
                named(rows[0]),
                percent(rows[0]["kept_before_llm"]),
                *map(difference, rows),
                points(statistics.mean(found)),
                _spread(found),
            )
        )
    return "\n".join(lines)


def _spread(found: Sequence[float]) -> str:
    """Standard deviation between models, in points, with n − 1."""
    return f"{100 * statistics.stdev(found):.1f}"
