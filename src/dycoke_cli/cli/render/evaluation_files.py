"""The tables of `dycoke eval report` as Markdown, and as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.evaluation import evaluation
from dycoke_cli.cli.text import one_line
from dycoke_cli.evaluation.report import Report
from dycoke_cli.evaluation.rows import ScoredRow
from dycoke_cli.json_schema import to_dict
from dycoke_cli.unicode import to_json

_GROUPS = ("by_type", "by_label", "by_part")


def markdown(report: Report) -> str:
    """The tables that stdout shows, as Markdown."""
    parts = evaluation(report).renderables
    blocks = [_block(part) for part in parts]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _block(part: Any) -> str:
    if isinstance(part, Text):
        return f"**{_escaped(part.plain)}**" if part.style == "bold" else _escaped(part.plain)
    assert isinstance(part, Table)
    lines = [
        [_cell(column.header) for column in part.columns],
        ["---" if column.justify == "left" else "---:" for column in part.columns],
        *(
            [_cell(cell) for cell in row]
            for row in zip(*(c.cells for c in part.columns), strict=True)
        ),
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{_cell(part.caption)}" if part.caption else table


def _cell(content: Any) -> str:
    return _escaped(content.plain if isinstance(content, Text) else str(content))


def _escaped(text: str) -> str:
    for mark in "\\|*_`<[":
        text = text.replace(mark, f"\\{mark}")
    return text


def comma_separated(report: Report) -> str:
    """One line per row, by the keys of the JSON object, and one column per group of questions."""
    lines = [_values(row) for row in report.rows]
    # A row says which model it is of.
    made_by = {
        "benchmark": report.benchmark, "edition": report.edition, "split": report.split,
        "rule": report.rule, "model": "",
    }  # fmt: skip
    if report.judge is not None:
        made_by |= {"judge": report.judge.model, "judge_date": report.judge.last_date}
    columns = dict.fromkeys([*made_by, *(name for line in lines for name in line)])
    file = io.StringIO()
    writer = csv.DictWriter(file, [*columns], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _safe(value) for name, value in {**made_by, **line}.items()})
    return file.getvalue()


def _values(row: ScoredRow) -> Mapping[str, Any]:
    values = to_dict(row)
    groups = {name: values.pop(name) for name in _GROUPS}
    values["parameters"] = to_json(values["parameters"])
    if (known := values.pop("published")) is not None:
        values |= {f"published.{name}": value for name, value in known.pop("figures").items()}
        known["differs"] = to_json(known["differs"])
        values |= {f"published.{name}": value for name, value in known.items()}
    return values | {
        f"{group}.{name}": mean["mean" if group == "by_part" else "accuracy"]
        for group, means in groups.items()
        for name, mean in means.items()
    }


def _safe(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value
