"""The answers that compression changed, as plain text for a pager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dycoke_cli.cli import output
from dycoke_cli.cli.text import one_line, shown

if TYPE_CHECKING:
    from dycoke_cli.evaluation.report import Change, Report


def write(report: Report) -> None:
    """Write all of them to stdout, row by row."""
    for row in report.rows:
        if row.changed is None:
            continue
        of = f"{row.changed} of {row.questions} answers"
        counts = f"{row.fixed} fixed, {row.broken} broken"
        output.write(f"\n{row.spec} changed {of}: {counts}\n")
        for change in report.changed:
            if change.spec == row.spec:
                output.write(_entry(change))


def _entry(change: Change) -> str:
    question = shown(change.question).replace("\n", "\n                ")
    return (
        f"\n  {one_line(change.item)} (video {one_line(change.video)}, {one_line(change.kind)}): "
        f"{change.outcome}\n"
        f"    question    {question}\n"
        f"    right       {one_line(change.answer)}\n"
        f"    all tokens  {one_line(change.uncompressed)}\n"
        f"    compressed  {one_line(change.said)}\n"
    )
