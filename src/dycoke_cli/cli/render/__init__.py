"""Output for people; the only package that writes with Rich.

Text from models, files and users arrives as plain `Text` with its control characters escaped:
nothing in it is taken for markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.cli.render.console import (
    check,
    failed,
    note,
    question,
    stdout_console,
    to_stderr,
    to_stdout,
    warning,
)
from dycoke_cli.cli.render.view import ProgressLine

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer

__all__ = [
    "ProgressLine",
    "check",
    "failed",
    "note",
    "question",
    "statistics",
    "stdout_console",
    "to_stdout",
    "warning",
]


def statistics(
    answer: Answer, waited_s: float, warm_up_s: float, whole: bool, more: str = "--stats"
) -> None:
    """Print the figures of an answer: a line or the panel, and the comparison if there is one."""
    # A server reports fewer figures, so its answers have a table of their own.
    if answer.remote:
        from dycoke_cli.cli.render.panel import served, served_line

        if answer.compared_to is ABSENT and not whole:
            note(served_line(answer, waited_s, more))
        else:
            to_stderr(served(answer, waited_s))
        return
    from dycoke_cli.cli.render.panel import comparison, panel, summary
    from dycoke_cli.cli.render.units import odds

    if answer.compared_to is ABSENT and not whole:
        if answer.choice is not ABSENT:
            note(odds(answer))
        note(summary(answer, waited_s, more))
        return
    to_stderr(panel(answer, waited_s, warm_up_s))
    if answer.compared_to is not ABSENT:
        to_stderr(comparison(answer, answer.compared_to))
