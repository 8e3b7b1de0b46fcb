"""Answers questions about videos that are read: those about videos of equal shape together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dycoke_cli.batch.jobs import Asked, Job
from dycoke_cli.batch.outcome import Outcome, all_failed, answered, failed
from dycoke_cli.batch.plan import How
from dycoke_cli.batch.reading import Read
from dycoke_cli.engine.memory.estimate import estimate_answer
from dycoke_cli.engine.session import Question, VideoSession, ask_together
from dycoke_cli.engine.supported import check_decoder
from dycoke_cli.engine.visual_cache import VisualCache
from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.models.memory import free_memory
from dycoke_cli.result import Answer

# Above, a CPU answers no faster, and an accelerator hardly so.
_MOST_ON_CPU, _MOST_ON_ACCELERATOR = 8, 32
# Of the memory that is free; the rest is for what the estimate leaves out.
_SHARE = 0.5
# What waits for others of its shape, in questions for each that is answered together.
_MOST_WAITING = 4
_MOST_WAITING_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class _Waiting:
    """A question whose video is read."""

    job: Job
    asked: Asked
    session: VideoSession


class Answerer:
    """A model with the questions that wait for it.

    Args:
        loaded: the model.
        how: questions are answered.
    """

    def __init__(self, loaded: LoadedModel, how: How) -> None:
        self._loaded = loaded
        self._cache = VisualCache() if how.cache else None
        self._how = how
        self._groups: dict[tuple[int, ...], list[_Waiting]] = {}
        self._fits: dict[tuple[int, ...], int] = {}
        cpu = loaded.input_device.type == "cpu"
        most = how.batch_size or (_MOST_ON_CPU if cpu else _MOST_ON_ACCELERATOR)
        self._most = 1 if _one_by_one(how) else most

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
            any(len(group) >= self._together(shape) for shape, group in self._groups.items())
            or waiting >= _MOST_WAITING * self._most
            or self._waiting_bytes() >= _MOST_WAITING_BYTES
        )

    def add(self, read: Read) -> list[Outcome]:
        """Take in a video; what comes back are the errors of one that can't be shown."""
        if isinstance(read.clip, DycokeError):
            return all_failed(read.job, self._how, read.clip)
        try:
            session = VideoSession(
                self._loaded,
                read.clip,
                seconds_video_decode=read.seconds,
                reuse=len(read.job.questions) > 1,
                cache=self._cache,
            )
            shape = read.clip.frames.shape
            if self._how.batch_size is None and shape not in self._fits:
                self._fits[shape] = self._fitting(session, read.job.questions[0])
        except Exception as error:
            return all_failed(read.job, self._how, error)
        group = self._groups.setdefault(shape, [])
        group += [_Waiting(read.job, asked, session) for asked in read.job.questions]
        return []

    def answer(self) -> list[Outcome]:
        """Answer as many as go together, of the shape of which most wait."""
        shape = max(self._groups, key=lambda shape: len(self._groups[shape]))
        group = self._groups.pop(shape)
        together = self._together(shape)
        batch, rest = group[:together], group[together:]
        if rest:
            self._groups[shape] = rest
        return self._answer(batch)

    def _answer(self, batch: Sequence[_Waiting]) -> list[Outcome]:
        try:
            return [
                answered(item.job, item.asked, self._how, answer)
                for item, answer in zip(batch, self._ask(batch), strict=True)
            ]
        except Exception as error:
            if len(batch) == 1:
                return [failed(batch[0].job, batch[0].asked, self._how, error)]
            # One question may have spoilt it for all, or memory doesn't do for so many.
            half = len(batch) // 2
            if isinstance(error, OutOfMemoryError):
                self._most = half
        return [*self._answer(batch[:half]), *self._answer(batch[half:])]

    def _ask(self, batch: Sequence[_Waiting]) -> list[Answer]:
        asked = [Question(item.session, item.asked.text) for item in batch]
        return ask_together(asked, self._how.method, self._how.decoding)

    def _together(self, shape: tuple[int, ...]) -> int:
        return min(self._most, self._fits.get(shape, self._most))

    def _fitting(self, session: VideoSession, asked: Asked) -> int:
        """How many questions fit into the memory that is free."""
        free = free_memory(self._loaded.input_device)
        if free is None:
            return 1
        text = session.video.input_ids(asked.text).shape[1] - session.video.visual
        one = estimate_answer(self._loaded, session.video, self._how.method, text)
        return max(1, int(_SHARE * free) // one.working)

    def _waiting_bytes(self) -> int:
        sessions = {item.session for group in self._groups.values() for item in group}
        return sum(session.clip.frames.nbytes for session in sessions)


def load_answerer(how: How) -> Answerer:
    """Load the model.

    Raises:
        ModelError: it can't be loaded.
        UsageError: it can't be asked with that method.
    """
    loaded = load(how.model, **asdict(how.loading))
    check_decoder(loaded.model.get_decoder(), how.method)
    return Answerer(loaded, how)


def _one_by_one(how: How) -> bool:
    # Draws of a batch depend on what else is in it; a choice inside the model reads one sequence.
    return how.decoding.temperature > 0 or how.method.inside() is not None
