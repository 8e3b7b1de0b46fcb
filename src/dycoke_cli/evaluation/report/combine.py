"""Report of finished runs, of one or several.

Runs may have different models. A row is then identified by model and method, and compared with the
baseline of its model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.report.evaluation_report import EvalReport, make_report
from dycoke_cli.evaluation.run_record import RunRecord, StoredRun, read_folder


def report_of(sources: Sequence[Path]) -> EvalReport:
    """Build the report of one or several runs from the folders of `dycoke eval --out`."""
    runs = [read_folder(folder) for folder in dict.fromkeys(sources)]
    for number, run in enumerate(runs):
        for earlier in runs[:number]:
            _check_alike(earlier, run)
    rows = _rows(runs)
    record, left_out = _record(runs, rows)
    answers, differing = _answers(runs, rows)
    warnings = dict.fromkeys(sentence for run in runs for sentence in run.record.warnings)
    return make_report(
        record,
        answers,
        {one for run in runs for row in rows for one in run.commits.get(row.setup.id, ())},
        ", ".join(str(run.journal) for run in runs),
        [*warnings, *_damages(runs), *left_out, *differing, *_versions(runs)],
        {k: v for run in runs for k, v in run.verdicts.items() if record.judge},
    )


def _versions(runs: list[StoredRun]) -> Iterator[str]:
    """Warnings about packages whose versions differ between the runs."""
    for name in dict.fromkeys(name for run in runs for name in run.record.versions):
        used = dict.fromkeys(run.record.versions.get(name, "unknown") for run in runs)
        if len(used) > 1 and name != "processor":
            yield f"the runs had several versions of {name}: {', '.join(used)}"


def _facts(record: RunRecord) -> dict[str, Any]:
    """Conditions that all rows of a report must share."""
    setup = record.rows[0].setup
    return {
        **{name: value for group in record.conditions.values() for name, value in group.items()},
        "benchmark": setup.benchmark,
        "version of the benchmark": setup.edition,
        "split": setup.split,
        "max_new_tokens": setup.max_new_tokens,
    }


def _check_alike(first: StoredRun, other: StoredRun) -> None:
    """Check that two runs can be in one report."""
    ours, theirs = _facts(first.record), _facts(other.record)
    models = [run.record.rows[0].setup.model for run in (first, other)]
    # Rows show the model's name only: runs of one model must agree in revision, dtype and so on.
    if models[0]["name"] == models[1]["name"]:
        ours, theirs = ours | models[0], theirs | models[1]
    for name, value in ours.items():
        if name in theirs and theirs[name] != value:
            raise UsageError(
                f"{first.shown} and {other.shown} can't be in one report: they differ in "
                f"{name.replace('_', ' ')} ({value} and {theirs[name]})"
            )


def _rows(runs: list[StoredRun]) -> list[KeptRow]:
    """Rows of all runs without duplicates, grouped by model, in order of first appearance."""
    rows: dict[tuple[str, str], tuple[StoredRun, KeptRow]] = {}
    for run in runs:
        for row in run.record.rows:
            first_run, first = rows.setdefault((row.model, row.spec.text), (run, row))
            if first.setup.id != row.setup.id:
                raise UsageError(
                    f"{first_run.shown} and {run.shown} can't be in one report: their answers "
                    f"under {row.spec.text} were made with different settings"
                    f"{_different(first, row)}"
                )
            if row.preset and not first.preset:  # this one has published figures
                rows[row.model, row.spec.text] = (first_run, row)
    models = list(dict.fromkeys(model for model, _ in rows))
    # The sort is stable: within a model the order stays.
    return sorted((row for _, row in rows.values()), key=lambda row: models.index(row.model))


def _different(one: KeptRow, other: KeptRow) -> str:
    pairs = [
        {**row.setup.method, **row.parameters, "frames": row.setup.frames, **row.setup.options}
        for row in (one, other)
    ]
    for name in {**pairs[0], **pairs[1]}:
        values = [pair.get(name, "none") for pair in pairs]
        if values[0] != values[1]:
            return f" ({name} {values[0]} and {values[1]})"
    return ""


def _record(runs: list[StoredRun], rows: list[KeptRow]) -> tuple[RunRecord, list[str]]:
    """Merge the records, restricted to questions that all rows have; warn if some don't."""
    items = {item.id: item for run in runs for item in run.record.items}
    asked: dict[str, set[str]] = {row.setup.id: set() for row in rows}
    for run in runs:
        for row in run.record.rows:
            asked[row.setup.id] |= {item.id for item in run.record.items}
    common = set.intersection(*asked.values())
    if not common:
        raise UsageError(
            f"{' and '.join(run.shown for run in runs)} can't be in one report: there is no "
            "question that all of their methods were asked"
        )
    others = len(items) - len(common)
    warnings = [
        f"{others} of {len(items)} questions are skipped, for not all methods were asked them"
    ]
    judges = {judge: run for run in runs if (judge := run.record.judge) is not None}
    if len(judges) > 1:
        raise UsageError(
            f"{' and '.join(run.shown for run in judges.values())} can't be in one report: they "
            f"were graded by different judges ({' and '.join(judges)})"
        )
    return replace(
        runs[0].record,
        judge=next(iter(judges), None),
        rows=tuple(rows),
        items=tuple(item for name, item in items.items() if name in common),
    ), warnings if others else []


def _answers(
    runs: list[StoredRun], rows: list[KeptRow]
) -> tuple[Mapping[str, Mapping[str, Prediction]], list[str]]:
    """Answers by setup and question, the newest of each; and warnings about differing ones."""
    answers: dict[str, dict[str, Prediction]] = {}
    source: dict[tuple[str, str], StoredRun] = {}
    differing: dict[tuple[str, str], int] = {}
    for run in sorted(runs, key=lambda run: run.record.date):
        for setup in {row.setup.id: row.setup for row in rows}.values():
            of_setup = answers.setdefault(setup.id, {})
            # A failure never replaces an answer of an earlier run.
            for name, failure in run.record.failures.get(setup.id, {}).items():
                of_setup.setdefault(name, failure)
            for name, answer in run.predictions(setup).items():
                before = source.get((setup.id, name))
                if before is not None and of_setup[name].said != answer.said:
                    pair = (before.shown, run.shown)
                    differing[pair] = differing.get(pair, 0) + 1
                of_setup[name], source[setup.id, name] = answer, run
    return answers, [
        f"{count} {'answer differs' if count == 1 else 'answers differ'} between {older} and "
        f"{newer} under the same settings; those of {newer}, the newer run, are taken"
        for (older, newer), count in differing.items()
    ]


def _damages(runs: list[StoredRun]) -> Iterator[str]:
    for run in runs:
        if run.damaged:
            yield (
                f"{run.journal} has {run.damaged} damaged line(s), which are left "
                "out: run the same `dycoke eval` again, which asks those questions"
            )
