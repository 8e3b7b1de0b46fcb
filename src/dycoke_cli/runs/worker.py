"""A worker on Ray, which answers questions about a few videos per call.

The model is kept between calls.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayError

from dycoke_cli.ask import Ask, Failed, Footage
from dycoke_cli.errors import DycokeError, ModelError, OutOfMemoryError, VideoError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.explaining import explain
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.ray.cluster import broken
from dycoke_cli.runs.ray.transfer import received
from dycoke_cli.runs.run import Group
from dycoke_cli.runs.when import answers_of
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__

AnswerSlice = Callable[[Sequence[Group]], list[Outcome]]
MakeAnswerSlice = Callable[[RunPlan, int], AnswerSlice]
"""Makes the function that answers, from the plan and the number of threads."""


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of every worker of a run."""

    plan: RunPlan  # how questions are answered
    threads: int  # for arithmetic
    make: MakeAnswerSlice  # makes the function that answers
    attempts: Any  # an actor that is an `Attempts`
    sender: Any = None  # an actor that is a `Sender`; None if workers can open the videos' paths
    version: str = __version__  # of this package, on the machine where the run began


@dataclass(frozen=True)
class Slice:
    """A few videos that are sent to a worker at once."""

    groups: dict[int, Group]  # questions about one video each, by their numbers
    folder: str  # that the paths of videos are relative to


@dataclass(frozen=True)
class WorkerReply:
    """Outcomes of a slice."""

    videos: tuple[int, ...]  # their numbers
    # of their questions; empty if the run was stopped before the slice was begun
    outcomes: list[Outcome] = field(default_factory=list)
    failure: DycokeError | None = None  # error that keeps this worker from answering anything


class RayWorker:
    """Called by Ray Data with a row that has a slice in it."""

    def __init__(self, task: WorkerSettings) -> None:
        self._task = task
        # Loaded by the first call, not here: Ray retries a constructor that fails, and reports the
        # error as one of Ray. A call can return it.
        self._loaded: AnswerSlice | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Answer a slice."""
        given: Slice = pickle.loads(row["slice"])
        try:
            outcomes = self._answer(given)
            reply = WorkerReply(tuple(given.groups), outcomes)
        except RayError as error:  # another actor is gone
            reply = WorkerReply(tuple(given.groups), failure=broken(error))
        except Exception as error:
            reply = WorkerReply(tuple(given.groups), failure=explain(error))
        return {"reply": pickle.dumps(reply)}

    def _answer(self, given: Slice) -> list[Outcome]:
        # Before the videos are begun: they aren't to blame for a worker that dies while it loads.
        if not self._load():
            return []
        first = ray.get(self._task.attempts.begin.remote(list(given.groups)))
        if first is None:
            return []
        if first:
            return self._answer_here(list(given.groups.values()), given.folder)
        outcomes = []
        for video, group in given.groups.items():
            outcomes += self._answer_alone(video, group, given.folder)
        return outcomes

    def _answer_alone(self, video: int, group: Group, folder: str) -> list[Outcome]:
        """Answer a video that may have crashed a worker."""
        attempts = self._task.attempts
        attempt = ray.get(attempts.begin_alone.remote(video))
        if not isinstance(attempt, int):
            # A worker answered this one, and died at a later video of the same slice.
            earlier: list[Outcome] = pickle.loads(attempt)
            return earlier
        if attempt > MAX_ATTEMPTS:
            return _all_failed(group, _deadly(group))
        outcomes = self._answer_here([group], folder)
        # Waited for, so that a crash at the next video can't lose it.
        ray.get(attempts.end_alone.remote(video, pickle.dumps(outcomes)))
        return outcomes

    def _answer_here(self, groups: Sequence[Group], folder: str) -> list[Outcome]:
        assert self._loaded is not None, "`_load` is called first"
        outcomes: list[Outcome] = []
        names: dict[str, str] = {}  # paths as the user gave them, by the paths that are opened here
        with ExitStack() as stack:
            here: list[Group] = []
            for group in groups:
                try:
                    video = self._here(group[0], folder, stack, names)
                except VideoError as error:
                    outcomes += _all_failed(group, error)
                    continue
                here.append([replace(ask, videos=(video,)) for ask in group])
            outcomes += self._loaded(here)
        return [_renamed(outcome, names) for outcome in outcomes]

    def _here(self, ask: Ask, folder: str, stack: ExitStack, names: dict[str, str]) -> Footage:
        """A video whose files can be opened here; their paths are added to `names`."""
        [video] = ask.videos
        if ask.blind or not isinstance(video.source, str):
            return video
        path = os.path.join(folder, video.source)
        names[path] = video.source
        copy = stack.enter_context(self._local_copy(path))
        names[copy] = video.source
        subtitles = video.subtitles
        if subtitles is not None and subtitles.path is not None:
            path = os.path.join(folder, subtitles.path)
            names[path] = subtitles.path
            copy_of_them = stack.enter_context(self._local_copy(path))
            names[copy_of_them] = subtitles.path
            subtitles = replace(subtitles, path=copy_of_them)
        return replace(video, source=copy, subtitles=subtitles)

    @contextmanager
    def _local_copy(self, path: str) -> Iterator[str]:
        sender = self._task.sender
        if sender is None:
            yield path
            return

        def chunk(path: str, offset: int) -> Any:
            return ray.get(sender.chunk.remote(path, offset))

        with received(path, chunk) as copy:
            yield copy

    def _load(self) -> bool:
        """Load the model unless it is loaded; false if the run is to end."""
        if self._loaded is None:
            task = self._task
            may = ray.get(task.attempts.begin_load.remote())
            if may is None:
                return False
            if not may:
                raise OutOfMemoryError(
                    f"each worker ended {MAX_ATTEMPTS} times while it loaded the model, most "
                    "likely because memory ran out; use a larger --num-cpus-per-worker, which "
                    "makes fewer workers, and run it again: it resumes"
                )
            # The plan is pickled: another version might unpickle it with other defaults.
            if task.version != __version__:
                raise ModelError(
                    f"a worker of the cluster has dycoke {__version__}, and the run was begun with "
                    f"{task.version}; install one version on all machines"
                )
            self._loaded = task.make(task.plan, task.threads)
        return True


def load_slices(plan: RunPlan, threads: int) -> AnswerSlice:
    """Load the model in a worker's process, and use this number of threads for arithmetic."""
    # Imported here: the process in which the run begins doesn't need torch.
    import torch

    from dycoke_cli.stock.quiet import silence_libraries

    torch.set_num_threads(threads)
    silence_libraries()
    engine = plan.engine(max(1, threads - 1))
    engine.load()

    def answer_slice(groups: Sequence[Group]) -> list[Outcome]:
        return [Outcome.of(ask, event) for ask, event in answers_of(engine, groups, Listener())]

    return answer_slice


def _all_failed(group: Group, error: DycokeError) -> list[Outcome]:
    return [Outcome.of(ask, Failed(error)) for ask in group]


def _deadly(group: Group) -> VideoError:
    return VideoError(
        f"{display_name(group[0].videos[0].name)} ended the worker that had it {MAX_ATTEMPTS} "
        "times, for it is damaged or takes too much memory: convert it, use fewer --frames, or "
        "leave it out"
    )


def _renamed(outcome: Outcome, names: Mapping[str, str]) -> Outcome:
    """The outcome with the paths that the user gave, in place of those that were opened here."""

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
