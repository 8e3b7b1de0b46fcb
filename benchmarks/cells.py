"""Cells and lines of Markdown tables: shares, differences and their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

PLUS_MINUS = "one standard error, widened by Student's t where there are fewer than 30"
"""What ± is in every table; the noun behind it says of what there are so many."""
R = TypeVar("R")
Row = Mapping[str, Any]
"""Of a report of `dycoke eval`."""
Document = Mapping[str, Any]
"""One table's figures of one model, as `method_figures.document_of` gives them."""


def table_lines(columns: Mapping[str, Callable[[R], str]], rows: Iterable[R]) -> list[str]:
    """The lines of a table, by heading what makes the cell of a row."""
    cells = ([cell(row) for cell in columns.values()] for row in rows)
    return [*head(*columns), *(line(*each) for each in cells)]


def head(*headings: str) -> list[str]:
    """The first two lines of a table."""
    return [line(*headings), line(*["---"] * len(headings))]


def line(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def difference(one: Mapping[str, Any] | None) -> str:
    """In points, of a row, a group or a pair; empty where it isn't compared, or isn't there."""
    if one is None or one["difference"] is None:
        return ""
    return f"{points(one['difference'])} ± {_error(one['difference_plus_minus'])}"


def points(share: float) -> str:
    """A difference in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def correct(row: Row) -> str:
    """Correct answers in percent, ± as in `PLUS_MINUS`."""
    return f"{100 * row['accuracy']:.1f} ± {_error(row['plus_minus'])}"


def _error(share: float | None) -> str:
    """In points; of a single video there is none."""
    return "–" if share is None else f"{100 * share:.1f}"


def group(one: Mapping[str, Any] | None) -> str:
    """The mean of some questions in percent, and its difference."""
    if one is None:
        return ""
    moved = difference(one)
    return f"{100 * one['accuracy']:.1f}" + (f" ({moved})" if moved else "")


def moved(row: Row) -> str:
    """Answers that a method made right, and those that it made wrong."""
    return "" if row["changed"] is None else f"{row['fixed']} / {row['broken']}"


def percent(share: float | None) -> str:
    """A share in whole percent."""
    return "" if share is None else f"{100 * share:.0f} %"


def milliseconds(seconds: float | None) -> str:
    """A time in whole milliseconds."""
    return "" if seconds is None else f"{1000 * seconds:.0f}"


def lost(row: Row | None, base: Row) -> str:
    """Of the answers that are correct in the baseline, those that no longer are."""
    if row is None or row["changed"] is None:
        return ""
    return percent(row["broken"] / (base["accuracy"] * base["questions"]))


def by_spec(document: Document) -> dict[str, Row]:
    """The rows by the text that they were asked for with."""
    return {row["spec"]: row for row in document["rows"]}


def baseline(document: Document) -> Row:
    """The row that all others are compared with."""
    return by_spec(document)["none"]
