"""Answers questions about videos that are read: those about videos of equal shape together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.ask_together import Question, ask_together, ask_without_video
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.memory.expected_bytes import expected_bytes
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.supported import check_decoder
from dycoke_cli.engine.visual_cache import VisualCache
from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.guard.asking import ask_guarded
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.models.free_memory import free_memory
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.runs.jobs import Asked, Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome, all_failed, answered, failed
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.read_ahead import PATIENCE_S, Read

# Above, a CPU answers no faster, and an accelerator hardly so.
_MOST_ON_CPU, _MOST_ON_ACCELERATOR = 8, 32
# Of the memory that is free; the rest is for what the estimate leaves out.
_SHARE = 0.5
# What waits for others of its shape, in questions for each that is answered together.
_MOST_WAITING = 4
_MOST_WAITING_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class _Waiting:
    """A question whose video is read, or which is asked without it."""

    job: Job
    asked: Asked
    session: VideoSession | None


_Group = tuple[tuple[int, ...], BoundMethod, Guard | None]
"""What can be answered together: about videos of one shape (none without video), by one method or
guard."""


class Videos(Protocol):
    """Videos as they are read: `ReadAhead`, or what a worker is sent of it."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""

    def take(self, timeout_s: float) -> Read | None:
        """The next video; None where none came in that time, or none will."""


class Answerer:
    """A model with the questions that wait for it.

    Args:
        loaded: the model.
        plan: how questions are answered.

    Raises:
        UsageError: it can't be asked with the plan's method.
    """

    def __init__(self, loaded: LoadedModel, plan: Plan) -> None:
        self._loaded, self._traits = loaded, loaded.traits
        self._bound = {plan.method: bind(plan.method, self._traits)}
        check_decoder(loaded.model.get_decoder(), self._bound[plan.method])
        self._cache = VisualCache() if plan.cache else None
        self._plan = plan
        self._groups: dict[_Group, list[_Waiting]] = {}
        self._fits: dict[_Group, int] = {}
        cpu = loaded.input_device.type == "cpu"
        most = plan.batch_size or (_MOST_ON_CPU if cpu else _MOST_ON_ACCELERATOR)
        # Draws of a batch depend on what else is in it.
        self._most = 1 if plan.generation.temperature > 0 else most

    @property
    def waiting(self) -> bool:
        """Whether there are questions that wait."""
        return bool(self._groups)

    @property
    def full(self) -> bool:
        """Whether enough of them wait to answer some."""
        if not self._groups:
            return False
        waiting = sum(len(group) for group in self._groups.values())
        return (
            self._full_group() is not None
            or waiting >= _MOST_WAITING * self._most
            or self._waiting_bytes() >= _MOST_WAITING_BYTES
        )

    def add(self, read: Read) -> list[Outcome]:
        """Take in a video; what comes back are the errors of one that can't be shown."""
        if isinstance(read.clip, DycokeError):
            return all_failed(read.job, self._plan, read.clip)
        try:
            session = None
            if read.clip is not None:
                session = VideoSession(
                    self._loaded,
                    read.clip,
                    seconds_video_decode=read.seconds,
                    reuse=len(read.job.questions) > 1,
                    cache=self._cache,
                )
            shape = () if read.clip is None else read.clip.frames.shape
            for asked in read.job.questions:
                waiting = _Waiting(read.job, asked, session)
                guard = asked.guard or self._plan.guard
                method = asked.method or self._plan.method
                if method not in self._bound:
                    self._bound[method] = bind(method, self._traits)
                group = shape, self._bound[method], guard
                if self._plan.batch_size is None and group not in self._fits:
                    methods = self._methods(group)
                    self._fits[group] = min(self._fitting(waiting, one) for one in methods)
                self._groups.setdefault(group, []).append(waiting)
        except Exception as error:
            for group, questions in list(self._groups.items()):
                self._groups[group] = [item for item in questions if item.job is not read.job]
            self._groups = {group: left for group, left in self._groups.items() if left}
            return all_failed(read.job, self._plan, error)
        return []

    def answer(self) -> list[Outcome]:
        """Answer as many as go together: of a group that is full, or of that of which most wait."""
        group = self._full_group() or max(self._groups, key=lambda one: len(self._groups[one]))
        waiting = self._groups[group]
        batch = waiting[: self._together(group)]
        del waiting[: len(batch)]
        if not waiting:
            del self._groups[group]
        return self._answer(batch, group)

    def _full_group(self) -> _Group | None:
        """The group that has waited longest of those from which as many wait as go together."""
        groups = self._groups.items()
        return next((group for group, all_ in groups if len(all_) >= self._together(group)), None)

    def _answer(self, batch: Sequence[_Waiting], group: _Group) -> list[Outcome]:
        try:
            answers = self._ask(batch, group)
        except Exception as error:
            if len(batch) == 1:
                return [failed(batch[0].job, batch[0].asked, self._plan, error)]
            # One question may have spoilt it for all, or memory doesn't do for so many.
            half = len(batch) // 2
            if isinstance(error, OutOfMemoryError):
                self._most = half
            return [*self._answer(batch[:half], group), *self._answer(batch[half:], group)]
        outcomes = [
            answered(item.job, item.asked, self._plan, answer)
            for item, answer in zip(batch, answers, strict=True)
        ]
        asked = [outcome for outcome in outcomes if not outcome.refused]
        if not asked:
            return outcomes
        seconds = _seconds_of_each(asked)
        return [
            outcome if outcome.refused else replace(outcome, seconds=seconds, together=len(asked))
            for outcome in outcomes
        ]

    def _ask(self, batch: Sequence[_Waiting], group: _Group) -> list[Answer]:
        generation, (_, method, guard) = self._plan.generation, group
        shown = [
            Question(item.session, item.asked.text, item.asked.history)
            for item in batch
            if item.session is not None
        ]
        if shown and guard is not None:
            return ask_guarded(shown, guard, generation)
        if shown:
            return ask_together(shown, method, generation)
        return [
            ask_without_video(self._loaded, item.asked.text, item.asked.history, generation)
            for item in batch
        ]

    def _together(self, group: _Group) -> int:
        # Without a video each is asked alone; so are those of a choice that reads one sequence.
        if not group[0] or any(one.inside is not None for one in self._methods(group)):
            return 1
        return min(self._most, self._fits.get(group, self._most))

    def _methods(self, group: _Group) -> list[BoundMethod]:
        """All by which a question of a group may be asked."""
        _, method, guard = group
        return [method] if guard is None else [bind(one, self._traits) for one in guard.steps]

    def _fitting(self, waiting: _Waiting, method: BoundMethod) -> int:
        """How many questions fit into the memory that is free."""
        free, session = free_memory(self._loaded.input_device), waiting.session
        if free is None or session is None:
            return 1
        asked = waiting.asked
        text = session.video.input_ids(asked.text, asked.history).shape[1] - session.video.visual
        one = expected_bytes(self._loaded, session.video, method, text)
        return max(1, int(_SHARE * free) // one.working)

    def _waiting_bytes(self) -> int:
        sessions = {item.session for group in self._groups.values() for item in group}
        return sum(session.clip.frames.nbytes for session in sessions if session is not None)


def load_answerer(plan: Plan) -> Answerer:
    """Load the model.

    Raises:
        ModelError: it can't be loaded.
        UsageError: it can't be asked with that method.
    """
    return Answerer(load(plan.model, **asdict(plan.loading)), plan)


def answer_all(videos: Videos, answerer: Answerer, listener: Listener) -> Iterator[list[Outcome]]:
    """Answer all questions about videos as they are read: those of a batch at once."""
    while not listener.stopping:
        if answerer.full:
            yield answerer.answer()
            continue
        read = videos.take(PATIENCE_S)
        if read is not None:
            yield answerer.add(read)
        elif answerer.waiting:
            yield answerer.answer()
        elif videos.ended:
            return


def _seconds_of_each(outcomes: Sequence[Outcome]) -> float:
    """What each question took of a batch, once all videos were encoded."""
    taken = [outcome.line["seconds"] for outcome in outcomes]
    whole = taken[0]["total"] - taken[0]["video_decode"]
    return (whole - sum(one["vision"] for one in taken)) / len(outcomes)
