"""Output for people; the only package that uses Rich.

Text from models, files and users arrives as plain `Text` with its control characters escaped:
nothing in it is taken for markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from dycoke_cli.json_schema import ABSENT
from dycoke_cli.result import Answer, Refusal

if TYPE_CHECKING:
    from dycoke_cli.cli.model_documents import ModelList

__all__ = [
    "Download",
    "Progress",
    "check",
    "confirm",
    "failed",
    "model_table",
    "models_table",
    "note",
    "question",
    "statistics",
    "to_stdout",
    "warning",
]


def statistics(answer: Answer, waited_s: float, warm_up_s: float, whole: bool) -> None:
    """The figures of one answer: a line, or the panel, and the comparison where there is one.

    Nothing for a question that wasn't put to the model: it has no figures.

    Args:
        answer: and what was measured.
        waited_s: see `panel`.
        warm_up_s: likewise.
        whole: the panel in place of the line; what is compared has it in any case.
    """
    if isinstance(answer, Refusal):
        return
    from dycoke_cli.cli.render.comparison import comparison
    from dycoke_cli.cli.render.panel import panel, summary

    if answer.compared_to is ABSENT and not whole:
        note(summary(answer, waited_s))
        return
    to_stderr(panel(answer, waited_s, warm_up_s))
    if answer.compared_to is not ABSENT:
        to_stderr(comparison(answer, answer.compared_to))


def models_table(document: ModelList, hidden: int) -> None:
    """Models, on stdout.

    Args:
        document: those that are shown.
        hidden: how many more there are.
    """
    from dycoke_cli.cli.render.catalog import models

    console = stdout_console()
    console.print(models(document, console.width, hidden))


def model_table(document: ModelList) -> None:
    """The details of one model, on stdout."""
    from dycoke_cli.cli.render.catalog import model

    to_stdout(model(document))
