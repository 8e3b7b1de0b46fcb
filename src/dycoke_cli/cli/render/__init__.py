"""Output for people; the only package that writes with Rich.

Text from models, files and users arrives as plain `Text` with its control characters escaped:
nothing in it is taken for markup.
"""

from __future__ import annotations

from dycoke_cli.answer.answer import Answer, Refusal
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.answer.remote import RemoteAnswer
from dycoke_cli.cli.render.console import (
    check,
    confirm,
    failed,
    note,
    question,
    stdout_console,
    to_stderr,
    to_stdout,
    warning,
)
from dycoke_cli.cli.render.progress import Download, Progress

__all__ = [
    "Download",
    "Progress",
    "check",
    "confirm",
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
    """The figures of one answer: a line, or the panel, and the comparison where there is one.

    Nothing for a question that wasn't put to the model: it has no figures.

    Args:
        answer: and what was measured.
        waited_s: see `panel`.
        warm_up_s: likewise.
        whole: the panel in place of the line; what is compared has it in any case.
        more: see `summary`.
    """
    if isinstance(answer, Refusal):
        return
    if isinstance(answer, RemoteAnswer):
        from dycoke_cli.cli.render.served import figures, served_line

        if answer.compared_to is ABSENT and not whole:
            note(served_line(answer, waited_s, more))
        else:
            to_stderr(figures(answer, waited_s))
        return
    from dycoke_cli.cli.render.comparison import comparison
    from dycoke_cli.cli.render.panel import panel, summary

    if answer.compared_to is ABSENT and not whole:
        note(summary(answer, waited_s, more))
        return
    to_stderr(panel(answer, waited_s, warm_up_s))
    if answer.compared_to is not ABSENT:
        to_stderr(comparison(answer, answer.compared_to))
