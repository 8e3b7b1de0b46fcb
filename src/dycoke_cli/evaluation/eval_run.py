"""Run of `dycoke eval`: answers the questions missing in the journal, and builds the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import DycokeError, UsageError, VideoError, error_of
from dycoke_cli.evaluation.dataset import Dataset, Item, Split
from dycoke_cli.evaluation.datasets import check_split
from dycoke_cli.evaluation.eval_request import Evaluation
from dycoke_cli.evaluation.evaluation_report import EvalReport, answers_of, judged, make_report
from dycoke_cli.evaluation.method_row import KeptRow, kept_rows
from dycoke_cli.evaluation.prediction import Answers, Prediction, open_answers, scored, unanswered
from dycoke_cli.evaluation.run_record import RunRecord, read_record, record_of, write_record
from dycoke_cli.evaluation.scoring.judge import (
    PROMPTS,
    OpenAIClient,
    judge_answers,
    open_verdicts,
    read_verdicts,
)
from dycoke_cli.evaluation.scoring.statistics import Predictions, grouped
from dycoke_cli.loop.plan import RunPlan, common_dtype, plan_of
from dycoke_cli.models.devices import free_memory
from dycoke_cli.models.load_memory import check_room, needed_bytes
from dycoke_cli.models.resolve import ResolvedModel, resolve_model
from dycoke_cli.request import Request
from dycoke_cli.resources import usable_cpus
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.runs.run import Group, run
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__, running_commit
from dycoke_cli.video.pictures import Rendered
from dycoke_cli.video.sampling import Sampling

SMALL_BYTES = 500_000_000
ANSWERS_WORTH_A_WORKER = 100
_MOST_NAMED = 3


def evaluate(evaluation: Evaluation, listener: Listener | None = None) -> EvalReport:
    """Run the missing questions, and build the report."""
    listener = listener or Listener()
    dataset, sampling = evaluation.dataset, evaluation.request.sampling
    items = items_of(dataset, evaluation.split, evaluation.limit_videos)
    if any(item.start_s is not None for item in items) and (
        sampling.start_s is not None or sampling.end_s is not None
    ):
        raise UsageError(
            f"--start and --end aren't for {dataset.name}: its questions have a start and an end "
            "of their own"
        )
    warnings = check_files(dataset, items)
    request = evaluation.request
    chosen = evaluation.served or resolve_model(
        request.model, request.loading, evaluation.workers or 1
    )
    rows, left_out = kept_rows(evaluation, chosen)
    warnings += left_out
    folder = evaluation.folder
    with open_answers(folder) as journal:
        shown = warnings + _repairs(journal)
        for sentence in shown:
            listener.warning(sentence)
        record = record_of(evaluation, rows, items, warnings)
        if record.judge is None:  # the verdicts of an earlier run stay in the tables
            record = replace(record, judge=_earlier_judge(folder, record))
        # Before the run, so that `eval report` can build the tables of an interrupted one.
        write_record(folder, record)
        failures = _ask_missing(evaluation, chosen, rows, items, journal, listener)
        record = replace(record, failures=failures)
        write_record(folder, record)
        if evaluation.judge is not None:
            _ask_judge(record, answers_of(record, journal), evaluation.judge, folder, listener)
        report = make_report(record, journal, shown, read_verdicts(folder))
    for sentence in report.warnings[len(shown) :]:
        listener.warning(sentence)
    return report


def items_of(dataset: Dataset, split: Split, limit_videos: int | None) -> list[Item]:
    """Questions of a benchmark, at least one."""
    check_split(dataset, split)
    items = dataset.items(split, limit_videos)
    if not items:
        raise UsageError(f"{dataset.name} has no questions in its {split} split")
    return items


def check_files(dataset: Dataset, items: list[Item]) -> list[str]:
    """Warnings about missing files of a benchmark; fast, since no video is opened."""
    videos = list(dict.fromkeys(item.video for item in items))
    missing = dataset.missing(videos)
    if not missing:
        return dataset.notes()
    more = ", …" if len(missing) > _MOST_NAMED else ""
    named = ", ".join(map(display_name, missing[:_MOST_NAMED])) + more
    if len(missing) == len(videos):
        raise VideoError(
            f"none of the {len(videos)} videos of {dataset.name} is below --data ({named}): unpack "
            "them there"
        )
    return [
        *dataset.notes(),
        f"{len(missing)} of {len(videos)} videos of {dataset.name} aren't below --data ({named}); "
        "questions about them count as wrong, and the report lists them",
    ]


def _ask_judge(
    record: RunRecord,
    answers: Mapping[str, Predictions],
    client: OpenAIClient,
    folder: Path,
    listener: Listener,
) -> None:
    """Judge all answers without a verdict; each verdict is written at once."""
    setups = dict.fromkeys(row.setup.id for row in record.rows)
    items = [one for setup in setups for one in judged(record, answers[setup]).values()]
    on_progress = partial(listener.stage, "verdicts")
    with open_verdicts(folder) as journal:
        judge_answers(items, client, PROMPTS[record.prompt], journal, on_progress=on_progress)


def _earlier_judge(folder: Path, record: RunRecord) -> str | None:
    """Judge of the earlier run in a folder; None if there is none with the same prompt."""
    try:
        earlier = read_record(folder)
    except UsageError:  # damaged; this run overwrites it
        return None
    return earlier.judge if earlier is not None and earlier.prompt == record.prompt else None


def _repairs(journal: Answers) -> list[str]:
    if not journal.damaged:
        return []
    damage = "1 damaged line" if journal.damaged == 1 else f"{journal.damaged} damaged lines"
    return [f"{damage} in {journal.path}; dropped, and those questions are asked again"]


class _EvaluationPlan(RunPlan):
    """Plan whose keys are those of the journal: setup and item."""

    def key(self, ask: Ask) -> str:
        """Id of the question, "setup/item"."""
        assert ask.id is not None
        return ask.id


@dataclass
class _Scorer:
    """Receiver of outcomes: scores them and writes them to the journal."""

    journal: Answers
    dataset: Dataset
    pending: dict[str, tuple[KeptRow, Item]]
    listener: Listener
    commit: str | None
    # questions about unreadable videos, by setup and question
    failures: dict[str, dict[str, Prediction]] = field(default_factory=dict)
    first: DycokeError | None = None  # the first error
    stopped: DycokeError | None = None  # the first error that ends the run

    def known(self, key: str) -> None:
        """None: the jobs have no finished questions."""

    def add(self, outcome: Outcome) -> None:
        """Score an answer and append it to the journal."""
        row, item = self.pending[outcome.key]
        if not outcome.failed:
            self.journal.add(row.setup, scored(self.dataset, item, outcome), self.commit)
            return
        error = error_of(**outcome.line["error"])
        self.first = self.first or error
        # An error of one video, or of the part that a question is about, doesn't affect others.
        # Anything else (model, memory, disk) would recur for every question, so the run ends.
        if isinstance(error, (VideoError, UsageError)):
            of_setup = self.failures.setdefault(row.setup.id, {})
            of_setup[item.id] = unanswered(self.dataset, item, str(error))
        else:
            self.stopped = self.stopped or error
            self.listener.stopping = True


def _ask_missing(
    evaluation: Evaluation,
    chosen: ResolvedModel | ServedModel,
    rows: list[KeptRow],
    items: list[Item],
    journal: Answers,
    listener: Listener,
) -> dict[str, dict[str, Prediction]]:
    """Run the missing questions; returns those that failed, by setup and question."""
    # Two rows may have the same setup, such as a method named with its default.
    rows = list({row.setup.id: row for row in rows}.values())
    pending = {
        f"{row.setup.id}/{item.id}": (row, item)
        for row in rows
        for item in items
        if item.id not in journal.predictions(row.setup)
    }
    answered = len(rows) * len(items) - len(pending)
    groups = _groups(pending, evaluation.request)
    plan = _plan(evaluation, chosen, len(pending), len(groups))
    if pending and evaluation.engine is not None and isinstance(chosen, ResolvedModel):
        listener.warning(common_dtype(plan))
    scorer = _Scorer(
        journal, evaluation.dataset, pending, listener, running_commit() or __version__
    )
    run(
        groups,
        plan,
        scorer,
        evaluation.engine,
        listener,
        # Lazily: the clips of `shapes` are rendered when they are next.
        drawn=partial(_with_file, evaluation.dataset),
        answered_before=answered,
    )
    if scorer.stopped is not None:
        raise scorer.stopped
    # With no answer at all, a report of zeros would hide that every video failed.
    if scorer.first is not None and not any(journal.predictions(row.setup) for row in rows):
        raise scorer.first
    return scorer.failures


def _groups(pending: dict[str, tuple[KeptRow, Item]], request: Request) -> list[Group]:
    """Questions by video and sampling.

    A group has all methods of its video, so that an interrupted run has comparable rows.
    """
    videos = grouped((item for _, item in pending.values()), lambda item: item.video)
    of_video = {video: number for number, video in enumerate(videos)}
    groups: dict[tuple[str, Sampling | None], list[Ask]] = {}
    for key, (row, item) in pending.items():
        frames = row.spec.sampled(request.sampling)
        frames = None if frames is None else item.sampled(frames)
        asked = replace(request, method=row.method, sampling=frames or request.sampling)
        ask = Ask(
            item.question,
            asked,
            (Footage("", item.video, item.video),),
            item.history,
            blind=frames is None,
            id=key,
            part_s=None if frames is None else (frames.start_s, frames.end_s),
        )
        groups.setdefault((item.video, frames), []).append(ask)
    return [group for _, group in sorted(groups.items(), key=lambda one: of_video[one[0][0]])]


def _with_file(dataset: Dataset, group: Group) -> Group:
    ask = group[0]
    [video] = ask.videos
    if ask.blind:
        return group
    file = dataset.file(video.place)
    source = file if isinstance(file, Rendered) else str(file)
    return [replace(ask, videos=(replace(video, source=source),)) for ask in group]


def _plan(
    evaluation: Evaluation, chosen: ResolvedModel | ServedModel, missing: int, groups: int
) -> RunPlan:
    if isinstance(chosen, ServedModel):
        return _EvaluationPlan(**vars(chosen.plan(evaluation.request)))
    workers = 1
    if evaluation.engine is None:
        cores = min(torch.get_num_threads(), usable_cpus())
        suitable = evaluation.workers or _suitable_workers(chosen, cores, missing)
        workers = max(1, min(suitable, groups))
        if workers > 1:  # each loads the model; a single one checks its memory while loading
            check_room(chosen, free_memory(chosen.device), workers)
    options: dict[str, Any] = {"batch_size": evaluation.batch_size, "cache": evaluation.cache}
    plan = plan_of(
        evaluation.request, chosen, **options, workers=workers, model_bytes=needed_bytes(chosen)
    )
    return _EvaluationPlan(**vars(plan))


def _suitable_workers(chosen: ResolvedModel, cores: int, missing: int) -> int:
    """Number of workers: several for a small model, which can't use many cores by itself."""
    if chosen.device.type != "cpu" or chosen.options.device_map is not None:
        return 1
    # The last term of the minimum keeps a short run from loading more models than it saves time.
    needed, free = needed_bytes(chosen), free_memory(chosen.device)
    if needed is None or needed > SMALL_BYTES:
        return 1
    fitting = cores if free is None else max(1, free // needed)
    return min(cores, fitting, 1 + missing // ANSWERS_WORTH_A_WORKER)
