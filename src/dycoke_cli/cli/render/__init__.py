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
from dycoke_cli.cli.render.progress import AnswerCount, Download, Progress
from dycoke_cli.json_schema import ABSENT
from dycoke_cli.result import Answer, Refusal

if TYPE_CHECKING:
    from dycoke_cli.bench.document import Report as BenchReport
    from dycoke_cli.cli.benchmark_documents import BenchmarkList
    from dycoke_cli.cli.doctor_document import Diagnosis
    from dycoke_cli.cli.method_documents import MethodList
    from dycoke_cli.cli.model_documents import ModelList
    from dycoke_cli.cli.probe_document import Probed
    from dycoke_cli.engine.memory.cost import Cost
    from dycoke_cli.evaluation.report import Report

__all__ = [
    "AnswerCount",
    "Download",
    "Progress",
    "bench_tables",
    "benchmarks_table",
    "check",
    "confirm",
    "cost_table",
    "doctor_tables",
    "evaluation_csv",
    "evaluation_markdown",
    "evaluation_tables",
    "failed",
    "method_page",
    "methods_table",
    "model_table",
    "models_table",
    "note",
    "probe_table",
    "question",
    "statistics",
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


def methods_table(listed: MethodList) -> None:
    """Compression methods, one per line, on stdout."""
    from dycoke_cli.cli.render.methods import methods

    to_stdout(methods(listed))


def method_page(listed: MethodList) -> None:
    """A compression method and its parameters, on stdout."""
    from dycoke_cli.cli.render.methods import method

    to_stdout(method(listed))


def benchmarks_table(listed: BenchmarkList) -> None:
    """The benchmarks and what they need, on stdout."""
    from dycoke_cli.cli.render.benchmarks import benchmarks

    to_stdout(benchmarks(listed))


def cost_table(estimated: Cost) -> None:
    """What an answer would cost, on stdout."""
    from dycoke_cli.cli.render.cost import cost

    to_stdout(cost(estimated))


def doctor_tables(found: Diagnosis) -> None:
    """What this machine and this installation are, on stdout."""
    from dycoke_cli.cli.render.doctor import doctor

    to_stdout(doctor(found))


def probe_table(probed: Probed) -> None:
    """What would be read of a video, on stdout."""
    from dycoke_cli.cli.render.tables import probe

    to_stdout(probe(probed))


def evaluation_tables(report: Report) -> None:
    """Methods compared on a benchmark, on stdout."""
    from dycoke_cli.cli.render.evaluation import evaluation

    to_stdout(evaluation(report))


def evaluation_markdown(report: Report) -> str:
    """The same tables as Markdown."""
    from dycoke_cli.cli.render.evaluation_files import markdown

    return markdown(report)


def evaluation_csv(report: Report) -> str:
    """Methods compared on a benchmark, a line of comma-separated values each."""
    from dycoke_cli.cli.render.evaluation_files import comma_separated

    return comma_separated(report)


def bench_tables(report: BenchReport) -> None:
    """Methods compared on given videos, on stdout."""
    from dycoke_cli.cli.render.bench import bench

    to_stdout(bench(report))
