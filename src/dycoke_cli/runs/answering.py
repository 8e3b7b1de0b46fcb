"""Answers questions about decoded videos; those about videos of equal shape as one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.ask_together import Question, ask_together, ask_without_video
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.supported import check_decoder
from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions
from dycoke_cli.engine.visual_cache import VisualCache
from dycoke_cli.engine.windowed_video import WindowedVideo
from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.guard.asking import ask_guarded
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.models.prompts.frame_fit import fitted
from dycoke_cli.runs.in_windows import read_in_windows
from dycoke_cli.runs.jobs import Job, JobQuestion
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome, all_failed, answered, failed
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.read_ahead import BATCH_WAIT_S, DecodedJob, InWindows
from dycoke_cli.video.frame_windows import ClosedError
from dycoke_cli.video.kept_frames import Fit, known

# Larger batches are no faster on a CPU, and hardly faster on an accelerator.
_MOST_ON_CPU, _MOST_ON_ACCELERATOR = 8, 32
# Questions that wait for others of their shape, as a multiple of the batch size, and their frames.
_MOST_WAITING = 4
_MOST_WAITING_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class _Waiting:
    """A question whose video is decoded, or which is asked without one."""

    job: Job
    question: JobQuestion
    session: VideoSession | None


_Group = tuple[tuple[int, ...], BoundMethod, Guard | None, TypedOptions | OpenNumber | None]
"""Questions that can be one batch: shape of their videos (empty without one), method, guard and
options."""


class Videos(Protocol):
    """Decoded videos as they arrive: a `ReadAhead`, or in a worker the part that it receives."""

    @property
    def ended(self) -> bool:
        """Whether no more will arrive."""

    def take(self, timeout_s: float) -> DecodedJob | None:
        """The next video; None if none arrived in that time, or none will."""


class Answerer:
    """A model and the questions that wait for it.

    Args:
        loaded: the model.
        plan: how questions are answered.

    Attributes:
        listener: receives notes.

    Raises:
        UsageError: the model doesn't support the plan's method.
    """

    def __init__(self, loaded: LoadedModel, plan: Plan) -> None:
        self.listener = Listener()
        self._loaded, self._traits = loaded, loaded.traits
        self._bound: dict[tuple[Method, bool], BoundMethod] = {}
        check_decoder(loaded.model.get_decoder(), self._bind(plan.method))
        self._cache = VisualCache() if plan.cache else None
        self._plan = plan
        self._groups: dict[_Group, list[_Waiting]] = {}
        self._fits: dict[_Group, int] = {}
        cpu = loaded.input_device.type == "cpu"
        most = plan.batch_size or (_MOST_ON_CPU if cpu else _MOST_ON_ACCELERATOR)
        # Sampling in a batch depends on what else is in it, and a seed is to repeat an answer.
        self._most = 1 if plan.generation.temperature > 0 else most

    @property
    def fit(self) -> Future[Fit]:
        """Resize of frames to the size that the model reads."""
        return known(self._loaded.fit)

    @property
    def waiting(self) -> bool:
        """Whether there are questions that wait."""
        return bool(self._groups)

    @property
    def full(self) -> bool:
        """Whether enough questions wait to answer some."""
        if not self._groups:
            return False
        waiting = sum(len(group) for group in self._groups.values())
        # The last two bound the memory if all videos have different shapes, so that no batch fills.
        return (
            self._full_group() is not None
            or waiting >= _MOST_WAITING * self._most
            or self._waiting_bytes() >= _MOST_WAITING_BYTES
        )

    def add(self, read: DecodedJob) -> list[Outcome]:
        """Add a video's questions; returns their errors if it can't be shown to the model."""
        if isinstance(read.clip, DycokeError):
            return all_failed(read.job, self._plan, read.clip)
        try:
            session = self._session(read)
            shape = () if session is None else session.clip.frames.shape
            for question in read.job.questions:
                waiting = _Waiting(read.job, question, session)
                guard = question.guard or self._plan.guard
                method = self._bind(question.method or self._plan.method, read.clip)
                typed = question.typed or self._plan.generation.typed
                group = shape, method, guard, typed
                if session is not None:
                    session.expect(self._methods(group))
                # Estimated once per group: its videos have one shape, and so about one size.
                if self._plan.batch_size is None and group not in self._fits:
                    methods = self._methods(group)
                    self._fits[group] = min(self._fitting(waiting, one) for one in methods)
                self._groups.setdefault(group, []).append(waiting)
        except Exception as error:
            # None of its questions may stay: each has exactly one outcome, and now it is an error.
            for group, questions in list(self._groups.items()):
                self._groups[group] = [item for item in questions if item.job is not read.job]
            self._groups = {group: left for group, left in self._groups.items() if left}
            return all_failed(read.job, self._plan, error)
        return []

    def _session(self, read: DecodedJob) -> VideoSession | None:
        """The video of a job with the model; None of a blind job."""
        if read.clip is None or isinstance(read.clip, DycokeError):
            return None
        windowed = None
        if isinstance(read.clip, InWindows):
            windowed = self._windowed(read.job, read.clip)
            clip = read.clip.clip.result()
        else:
            # Those of other processes come as decoded: only here is the model known.
            clip = fitted(read.clip, self._loaded.fit)
        return VideoSession(
            self._loaded,
            clip,
            seconds_video_decode=read.seconds,
            reuse=len(read.job.questions) > 1,
            cache=self._cache,
            windowed=windowed,
        )

    def _windowed(self, job: Job, video: InWindows) -> WindowedVideo:
        """Encode a video window by window; its error comes first, as in `background_read`."""
        plan = self._plan if job.sampling is None else replace(self._plan, sampling=job.sampling)
        method = self._bind(job.questions[0].method or plan.method, video)
        try:
            return read_in_windows(
                self._loaded,
                method,
                video.plan,
                video.windows,
                plan,
                self._cache,
                lambda done, total: None,
                self.listener.note,
            )
        except Exception:
            video.windows.close()
            with suppress(ClosedError):
                video.clip.result()
            raise

    def _bind(self, method: Method, video: object = None) -> BoundMethod:
        """The method bound to the model, for a video that may come in several windows."""
        several = isinstance(video, InWindows) and video.windows.several(len(video.plan.times_s))
        if (method, several) not in self._bound:
            traits = self._traits.in_windows if several else self._traits
            self._bound[method, several] = bind(method, traits)
        return self._bound[method, several]

    def answer(self) -> list[Outcome]:
        """Answer one batch: of a full group, or else of the largest."""
        group = self._full_group() or max(self._groups, key=lambda one: len(self._groups[one]))
        waiting = self._groups[group]
        batch = waiting[: self._together(group)]
        del waiting[: len(batch)]
        if not waiting:
            del self._groups[group]
        outcomes = self._answer(batch, group)
        left = {item.session for others in self._groups.values() for item in others}
        for session in {item.session for item in batch} - left:
            if session is not None:
                session.finish()
        return outcomes

    def _full_group(self) -> _Group | None:
        """The oldest group with enough questions for a whole batch."""
        groups = self._groups.items()
        return next((group for group, all_ in groups if len(all_) >= self._together(group)), None)

    def _answer(self, batch: Sequence[_Waiting], group: _Group) -> list[Outcome]:
        try:
            answers = self._ask(batch, group)
        except Exception as error:
            if len(batch) == 1:
                return [failed(batch[0].job, batch[0].question, self._plan, error)]
            # One question may have failed the whole batch, or the memory is too small for it: each
            # half is tried alone, so that only the question that fails has no answer.
            half = len(batch) // 2
            if isinstance(error, OutOfMemoryError):
                self._most = half  # later batches aren't to fail in the same way
            return [*self._answer(batch[:half], group), *self._answer(batch[half:], group)]
        outcomes = [
            answered(item.job, item.question, self._plan, answer)
            for item, answer in zip(batch, answers, strict=True)
        ]
        # A refused question never reached the model, so that it has no part in the batch's time.
        measured = [outcome for outcome in outcomes if not outcome.refused]
        if not measured:
            return outcomes
        seconds, count = _seconds_of_each(measured), len(measured)
        return [
            outcome if outcome.refused else replace(outcome, seconds=seconds, together=count)
            for outcome in outcomes
        ]

    def _ask(self, batch: Sequence[_Waiting], group: _Group) -> list[Answer]:
        _, method, guard, typed = group
        generation = replace(self._plan.generation, typed=typed)
        shown = [
            Question(item.session, item.question.text, item.question.history)
            for item in batch
            if item.session is not None
        ]
        if shown and guard is not None:
            return ask_guarded(shown, guard, generation)
        if shown:
            return ask_together(shown, method, generation)
        return [
            ask_without_video(self._loaded, item.question.text, item.question.history, generation)
            for item in batch
        ]

    def _together(self, group: _Group) -> int:
        # Asked one by one: questions without a video, those about what windows left of one, those
        # of a model whose stock processor makes the prompts, and those of a method that prunes
        # inside the language model, which selects tokens for a single sequence.
        if not group[0] or self._plan.max_tokens is not None or self._traits.family.stock_inputs:
            return 1
        if any(one.inside is not None for one in self._methods(group)):
            return 1
        return min(self._most, self._fits.get(group, self._most))

    def _methods(self, group: _Group) -> list[BoundMethod]:
        """All methods by which a question of a group may be asked; several with a guard."""
        _, method, guard, _ = group
        return [method] if guard is None else [bind(one, self._traits) for one in guard.steps]

    def _fitting(self, waiting: _Waiting, method: BoundMethod) -> int:
        """Number of questions that fit into the free memory."""
        question, session = waiting.question, waiting.session
        return 1 if session is None else session.fitting(question.text, method, question.history)

    def _waiting_bytes(self) -> int:
        sessions = {item.session for group in self._groups.values() for item in group}
        return sum(session.clip.frames.nbytes for session in sessions if session is not None)


def load_answerer(plan: Plan, fit: Future[Fit] | None = None) -> Answerer:
    """Load the model.

    Args:
        plan: names it.
        fit: see `load`.

    Raises:
        ModelError: it can't be loaded.
        UsageError: the model doesn't support the plan's method.
    """
    loaded = load(plan.model, fit=fit, **asdict(plan.loading))
    if fit is not None and not fit.done():
        fit.set_result(loaded.fit)
    return Answerer(loaded, plan)


def answer_all(videos: Videos, answerer: Answerer, listener: Listener) -> Iterator[list[Outcome]]:
    """Answer all questions about videos as they arrive, batch by batch."""
    answerer.listener = listener
    while not listener.stopping:
        if answerer.full:
            yield answerer.answer()
            continue
        read = videos.take(BATCH_WAIT_S)
        if read is not None:
            yield answerer.add(read)
        # None arrived for a while: a partial batch now is better than an idle model.
        elif answerer.waiting:
            yield answerer.answer()
        elif videos.ended:
            return


def _seconds_of_each(outcomes: Sequence[Outcome]) -> float:
    """Seconds per question of a batch, without decoding and encoding of the videos."""
    # `total` is that of the batch in each line; `vision` is each video's own.
    taken = [outcome.line["seconds"] for outcome in outcomes]
    whole = taken[0]["total"] - taken[0]["video_decode"]
    return (whole - sum(one["vision"] for one in taken)) / len(outcomes)
