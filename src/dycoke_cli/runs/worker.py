"""A worker on Ray: it holds the model, and answers a few videos per call.

The model and the decoders stay between calls.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import ray

from dycoke_cli.errors import DycokeError, ModelError, VideoError
from dycoke_cli.models.explaining import explain
from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome, all_failed
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.ray.transfer import received
from dycoke_cli.runs.read_ahead import MAX_ATTEMPTS, ReadAhead
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__
from dycoke_cli.video import Decoder

AnswerSlice = Callable[[Sequence[Job]], list[Outcome]]
MakeAnswerSlice = Callable[[Plan, int], AnswerSlice]
"""From the plan, and the threads for it, to what answers."""


@dataclass(frozen=True)
class Task:
    """The settings of every worker of a run.

    Args:
        plan: how questions are answered.
        threads: for arithmetic.
        make: makes what answers.
        attempts: an actor that is an `Attempts`.
        sender: an actor that is a `Sender`; None where workers read the videos' paths themselves.
        version: of this package, on the machine where the run began.
    """

    plan: Plan
    threads: int
    make: MakeAnswerSlice
    attempts: Any
    sender: Any = None
    version: str = __version__


@dataclass(frozen=True)
class Slice:
    """A few videos, on their way to a worker.

    Args:
        jobs: by their numbers.
        folder: that their paths are relative to.
    """

    jobs: dict[int, Job]
    folder: str


@dataclass(frozen=True)
class Reply:
    """What came of a slice.

    Args:
        videos: their numbers.
        outcomes: of their questions; none where the run was to end before it was begun.
        failure: what keeps this worker from answering anything.
    """

    videos: tuple[int, ...]
    outcomes: list[Outcome] = field(default_factory=list)
    failure: DycokeError | None = None


class RayWorker:
    """Called by Ray Data with a row that has a slice in it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        # Loaded by the first call: what goes wrong can be answered there, and only there.
        self._loaded: AnswerSlice | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Answer a slice."""
        given: Slice = pickle.loads(row["slice"])
        try:
            outcomes = self._answer(given)
            reply = Reply(tuple(given.jobs), outcomes)
        except Exception as error:
            reply = Reply(tuple(given.jobs), failure=explain(error))
        return {"reply": pickle.dumps(reply)}

    def _answer(self, given: Slice) -> list[Outcome]:
        first = ray.get(self._task.attempts.begin.remote(list(given.jobs)))
        if first is None:
            return []
        if first:
            return self._answer_here(list(given.jobs.values()), given.folder)
        outcomes = []
        for video, job in given.jobs.items():
            outcomes += self._answer_alone(video, job, given.folder)
        return outcomes

    def _answer_alone(self, video: int, job: Job, folder: str) -> list[Outcome]:
        """Answer a video that a worker may have died of."""
        attempts = self._task.attempts
        known = ray.get(attempts.begin_alone.remote(video))
        if not isinstance(known, int):
            alone: list[Outcome] = pickle.loads(known)
            return alone
        if known > MAX_ATTEMPTS:
            return all_failed(job, self._task.plan, _deadly(job))
        outcomes = self._answer_here([job], folder)
        ray.get(attempts.end_alone.remote(video, pickle.dumps(outcomes)))
        return outcomes

    def _answer_here(self, jobs: Sequence[Job], folder: str) -> list[Outcome]:
        answer = self._answer_slice()
        outcomes: list[Outcome] = []
        names: dict[str, str] = {}
        with ExitStack() as stack:
            here = []
            for job in jobs:
                if job.blind:
                    here.append(job)
                    continue
                path = os.path.join(folder, job.video.path)
                names[path] = job.video.path
                try:
                    copy = stack.enter_context(self._at_hand(path))
                    job = self._with_subtitles(job, folder, stack, names)
                except VideoError as error:
                    outcomes += all_failed(job, self._task.plan, error)
                    continue
                names[copy] = job.video.path
                here.append(replace(job, video=replace(job.video, path=copy)))
            outcomes += answer(here)
        return [_renamed(outcome, names) for outcome in outcomes]

    def _with_subtitles(
        self, job: Job, folder: str, stack: ExitStack, names: dict[str, str]
    ) -> Job:
        """A job whose file of subtitles can be opened here; `names` learns what it was called."""
        found = job.subtitles
        if found is None or found.path is None:
            return job
        path = os.path.join(folder, found.path)
        copy = stack.enter_context(self._at_hand(path))
        names |= {path: found.path, copy: found.path}
        return replace(job, subtitles=replace(found, path=copy))

    @contextmanager
    def _at_hand(self, path: str) -> Iterator[str]:
        sender = self._task.sender
        if sender is None:
            yield path
            return

        def piece(path: str, offset: int) -> Any:
            return ray.get(sender.piece.remote(path, offset))

        with received(path, piece) as copy:
            yield copy

    def _answer_slice(self) -> AnswerSlice:
        if self._loaded is None:
            task = self._task
            if task.version != __version__:
                raise ModelError(
                    f"a worker of the cluster has dycoke {__version__}, and the run was begun with "
                    f"{task.version}; install one version on all machines"
                )
            self._loaded = task.make(task.plan, task.threads)
        return self._loaded


def load_slices(plan: Plan, threads: int) -> AnswerSlice:
    """Load the model, with as many threads for arithmetic in this process.

    Raises:
        ModelError: it can't be loaded.
        UsageError: it can't be asked with that method.
    """
    # Only now: torch is nothing for the process that a run begins in.
    import torch

    from dycoke_cli.runs.answering import answer_all, load_answerer
    from dycoke_cli.stock.quiet import silence_libraries

    torch.set_num_threads(threads)
    silence_libraries()
    answerer = load_answerer(plan)
    idle: list[Decoder] = []
    decoders = max(1, threads - 1)

    def answer_slice(jobs: Sequence[Job]) -> list[Outcome]:
        with ReadAhead(jobs, plan.sampling, plan.limits, decoders, idle=idle) as ahead:
            return list(chain.from_iterable(answer_all(ahead, answerer, Listener())))

    return answer_slice


def _deadly(job: Job) -> VideoError:
    return VideoError(
        f"{display_name(job.video.path)} ended the worker that had it {MAX_ATTEMPTS} times, for it "
        "is damaged or takes too much memory: convert it, use fewer --frames, or leave it out"
    )


def _renamed(outcome: Outcome, names: Mapping[str, str]) -> Outcome:
    """With videos called in sentences what they were called when they were given."""

    def renamed(sentence: str) -> str:
        for path, given in names.items():
            sentence = sentence.replace(display_name(path), display_name(given))
        return sentence

    line = dict(outcome.line)
    if "warnings" in line:
        line["warnings"] = [renamed(sentence) for sentence in line["warnings"]]
    if "subtitles" in line:
        line["subtitles"] = {**line["subtitles"], "source": renamed(line["subtitles"]["source"])}
    if "error" in line:
        line["error"] = {**line["error"], "message": renamed(line["error"]["message"])}
    return replace(outcome, line=line)
