"""Runs an evaluation: asks what the journal hasn't got, video by video, and counts."""

from __future__ import annotations

from contextlib import closing

import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.asking import Job, Question
from dycoke_cli.evaluation.commit import running_commit
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.journal import Journal, open_journal
from dycoke_cli.evaluation.listener import Listener
from dycoke_cli.evaluation.metrics import grouped
from dycoke_cli.evaluation.plan import Line, Plan, lines_of
from dycoke_cli.evaluation.report import Report, make_report
from dycoke_cli.evaluation.workers import Task, answers_here, answers_of_workers
from dycoke_cli.models.memory import check_room, free_memory, needed_bytes
from dycoke_cli.models.resolve import ResolvedModel, choose

SMALL_BYTES = 500_000_000
ANSWERS_WORTH_A_WORKER = 100


def evaluate(plan: Plan, listener: Listener | None = None) -> Report:
    """Ask what hasn't been asked yet, and count.

    Raises:
        UsageError: a combination that isn't supported.
        ModelError: the model can't be loaded.
        VideoError: a video can't be read.
        OutOfMemoryError: the model doesn't fit, or not so many times.
        OutputError: the journal is in use, or can't be written.
    """
    listener = listener or Listener()
    chosen = choose(plan.model, plan.loading)
    lines = lines_of(plan, chosen)
    items = plan.dataset.items(plan.split, plan.limit_videos)
    if not items:
        raise UsageError(f"{plan.dataset.name} has no questions in its {plan.split} split")
    with open_journal(plan.folder) as journal:
        repairs = _repairs(journal)
        for sentence in repairs:
            listener.warning(sentence)
        _ask_missing(plan, chosen, lines, items, journal, listener)
        report = make_report(plan, lines, items, journal, repairs)
    for sentence in report.warnings[len(repairs) :]:
        listener.warning(sentence)
    return report


def _repairs(journal: Journal) -> list[str]:
    if not journal.damaged:
        return []
    damage = "1 damaged line" if journal.damaged == 1 else f"{journal.damaged} damaged lines"
    return [f"{damage} in {journal.path}; dropped, and the answers there are made again"]


def _ask_missing(
    plan: Plan,
    chosen: ResolvedModel,
    lines: list[Line],
    items: list[Item],
    journal: Journal,
    listener: Listener,
) -> None:
    # Two rows of one setup are asked once.
    rows = {line.setup.id: number for number, line in enumerate(lines)}
    jobs = [job for job in _jobs(lines, sorted(rows.values()), items, journal) if job]
    missing = sum(len(job) for job in jobs)
    total = len(rows) * len(items)
    listener.progress(total - missing, total)
    if not jobs:
        return
    cores = torch.get_num_threads()
    workers = min(plan.workers or _suitable_workers(chosen, cores, missing), len(jobs))
    if workers > 1:  # each holds the model; one alone checks this itself
        check_room(chosen, free_memory(chosen.device), workers)
    task = Task(plan.dataset, plan.model, plan.loading, max(1, cores // workers))
    answers = answers_here(task, jobs) if workers == 1 else answers_of_workers(task, jobs, workers)
    commit = running_commit()
    with closing(answers):
        for question, prediction in answers:
            journal.add(lines[question.row].setup, prediction, commit)
            missing -= 1
            listener.progress(total - missing, total)


def _jobs(lines: list[Line], rows: list[int], items: list[Item], journal: Journal) -> list[Job]:
    """A job a video with all its methods, so that what a broken-off run has can be compared."""
    return [
        [
            Question(row, lines[row].method, lines[row].setup.frames, item)
            for row in rows
            for item in group
            if item.id not in journal.predictions(lines[row].setup)
        ]
        for group in grouped(items, lambda item: item.video).values()
    ]


def _suitable_workers(chosen: ResolvedModel, cores: int, missing: int) -> int:
    """A small model can't fill several cores by itself; a large one is held only once."""
    if chosen.device.type != "cpu" or chosen.options.device_map is not None:
        return 1
    needed, free = needed_bytes(chosen), free_memory(chosen.device)
    if needed is None or needed > SMALL_BYTES:
        return 1
    fitting = cores if free is None else max(1, free // needed)
    return min(cores, fitting, 1 + missing // ANSWERS_WORTH_A_WORKER)
