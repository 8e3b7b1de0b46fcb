"""The tables of `dycoke eval`."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import count, seconds, size
from dycoke_cli.cli.text import one_line


def evaluation(document: dict[str, Any]) -> Group:
    """Accuracy of all rows, the same by group, and what each cost (a `dycoke.eval/1` object)."""
    rows = document["rows"]
    return Group(
        Text(_title(document), style="bold"),
        Text(),
        _overall(rows),
        Text(),
        _by_group(rows),
        Text(),
        _costs(rows),
        Text(),
        Text(_origin(document), style="dim"),
    )


def _overall(rows: list[dict[str, Any]]) -> Table:
    table = _table("#", "Method", "Accuracy, %", "Difference", "Changed", "Fixed", "Broken")
    _fold(table, 1)
    for number, row in enumerate(rows, 1):
        table.add_row(
            str(number),
            Text(one_line(row["spec"])),
            f"{_points(row['accuracy'])} ± {_points(row['standard_error'])}",
            _difference(row),
            *(_number(row[key]) for key in ("changed", "fixed", "broken")),
        )
    return _explained(
        table,
        "± one standard error, clustered by video. Difference: points from none, on the same "
        "questions.",
    )


def _by_group(rows: list[dict[str, Any]]) -> Table:
    """A line a group and a column a row of the table above, by its number."""
    table = _table("%", "Questions", *(f"#{number}" for number in range(1, len(rows) + 1)))
    table.columns[0].justify = "left"
    for groups, key in (("by_type", "accuracy"), ("by_label", "accuracy"), ("by_part", "mean")):
        names = dict.fromkeys(name for row in rows for name in row[groups])
        for name in names:
            means = [row[groups].get(name) for row in rows]
            known = next(mean for mean in means if mean)
            table.add_row(
                Text(one_line(name)),
                count(known["questions"]),
                *(_points(mean[key]) if mean else "–" for mean in means),
            )
        table.add_section()
    return table


def _costs(rows: list[dict[str, Any]]) -> Table:
    table = _table("#", "Prefill", "Decode", "Pruned", "Time", "KV cache", "Parameters")
    _fold(table, 6)
    for number, row in enumerate(rows, 1):
        table.add_row(
            str(number),
            _share(row["kept_before_llm"]),
            _share(row["kept_in_decode"]),
            _share(row["kept_in_pruned_layers"]),
            seconds(row["seconds"]),
            size(row["bytes"]),
            Text(_parameters(row)),
        )
    return _explained(
        table,
        "Visual tokens retained at prefill, and at decode (mean over layers and steps; pruned: in "
        "the pruned layers alone). Time and KV cache: mean per answer.",
    )


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _fold(table: Table, column: int) -> None:
    """Let a column of text take the lines that it needs."""
    text = table.columns[column]
    text.justify, text.no_wrap, text.overflow = "left", False, "fold"


def _explained(table: Table, text: str) -> Table:
    table.caption, table.caption_justify = Text(text), "left"
    return table


def _title(document: dict[str, Any]) -> str:
    questions = document["rows"][0]["questions"]
    return one_line(
        f"{document['benchmark']}, {document['split']} split: {count(questions)} questions about "
        f"{count(document['videos'])} videos, {_frames(document['frames'])}, "
        f"model {document['model']['name']}"
    )


def _parameters(row: dict[str, Any]) -> str:
    frames = {} if row["frames"] is None else {"frames": row["frames"]}
    values = {**frames, **row["parameters"]}
    return one_line(" ".join(f"{name}={_value(value)}" for name, value in values.items()))


def _origin(document: dict[str, Any]) -> str:
    model, commits = document["model"], document["commits"]
    made_by = f"dycoke {document['version']}" + (
        f", commit {', '.join(commits)}" if commits else ""
    )
    return one_line(
        f"Edition {document['edition']}; {model['dtype']} on {model['device']}, weights "
        f"{model['weights'][:19]}; {made_by}; answers in {document['journal']}"
    )


def _frames(frames: int | None) -> str:
    return "as many frames as --fps takes" if frames is None else f"{frames} frames"


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _difference(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return "–"
    return f"{100 * row['difference']:+.1f} ± {_points(row['difference_error'])}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _number(value: int | None) -> str:
    return "–" if value is None else count(value)
