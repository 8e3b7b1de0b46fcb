"""Published figures beside the measured ones in the tables of `dycoke eval --preset`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.figures import explained, headed, points, score, with_texts
from dycoke_cli.cli.text import one_line
from dycoke_cli.evaluation.rows import ScoredRow

_MEASURES = {
    "accuracy": "accuracy, %",
    "judge_accuracy": "judge, %",
    "judge_score": "judge score",
}


def published(rows: Sequence[ScoredRow]) -> list[Table]:
    """The figures, and the conditions that differ; nothing where no row has published ones."""
    beside = [(str(n), row, row.published) for n, row in enumerate(rows, 1) if row.published]
    if not beside:
        return []
    figures = headed("#", "Published row", "Measure", "Measured here", "Published")
    for number, row, known in beside:
        for measure, value in known.figures.items():
            figures.add_row(
                number,
                Text(one_line(known.row)),
                _MEASURES[measure],
                _measured(row, measure),
                _shown(measure, value),
            )
    papers = dict.fromkeys(known.paper for _, _, known in beside)
    explained(
        figures,
        f"Published: by {', '.join(papers)}, under other conditions (below); it isn't a result of "
        "this run.",
    )
    conditions = headed("Condition that differs", "Rows", "Here", "Published")
    numbers: dict[tuple[str, str, str], list[str]] = {}
    for number, _, known in beside:
        for one in known.differs:
            numbers.setdefault((one.name, one.here, one.published), []).append(number)
    for (name, here, there), of in numbers.items():
        which = "all" if len(of) == len(rows) else ", ".join(f"#{number}" for number in of)
        conditions.add_row(*(Text(one_line(cell)) for cell in (name, which, here, there)))
    return [
        with_texts(figures, ("Published row", "Measure")),
        with_texts(conditions, ("Condition that differs", "Rows", "Here", "Published")),
    ]


def _measured(row: ScoredRow, measure: str) -> str:
    value = getattr(row, measure)
    if value is None:
        return "–"
    error = f" ± {points(row.standard_error)}" if measure == "accuracy" else ""
    return _shown(measure, value) + error


def _shown(measure: str, value: float) -> str:
    return score(value) if measure == "judge_score" else points(value)
