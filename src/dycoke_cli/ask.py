"""A question with all that its answer depends on, and the events until it is answered.

A command, a route of the server, a worker or a camera makes `Ask`s. `loop.local_engine.Engine`
answers them. Whatever carries them between processes carries these classes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.answer import SCHEMA, Answer, Error, Failure
from dycoke_cli.answer.json_schema import ABSENT, Count, to_dict
from dycoke_cli.models.load_options import BUNDLED, UNKNOWN
from dycoke_cli.request import Request
from dycoke_cli.unicode import valid
from dycoke_cli.video.clip import VideoInfo
from dycoke_cli.video.pictures import Rendered, Source
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import SubtitleSource

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Clip


@dataclass(frozen=True)
class Footage:
    """A video that is shown with a question.

    Args:
        source: path of a file or of a folder of pictures, paths of pictures, `STDIN`, or a rendered
            video.
        name: as the user gave it, for answers.
        place: its path relative to the root of a run, which identifies it among the others.
        digest: hash of its content; None where it isn't known, or can't be.
        subtitles: lines that are shown with the frames; None for those of the request.
        sampling: frames that are read; None is that of the request.
        shown_as: name for errors and warnings; None is the source, escaped.
        edit: changes the clip once it is read.
        pixels: of all frames that are decoded, at their stored sizes, at most; None for no limit
            beside those of the request.
        count: pictures that are decoded, where it has pictures and that is known.
        identity: what it is known by in memory: footage of equal identity is read once; None is
            everything else here.
    """

    source: Source | Rendered
    name: str
    place: str = ""
    digest: str | None = None
    subtitles: SubtitleSource | None = None
    sampling: Sampling | None = None
    shown_as: str | None = None
    edit: Callable[[Clip], Clip] | None = None
    identity: Hashable = None
    pixels: int | None = None
    count: int | None = None

    @property
    def path(self) -> str:
        """Path of a file or folder."""
        assert isinstance(self.source, str), "a video of a run has a path, unless it is rendered"
        return self.source


@dataclass(frozen=True)
class Ask:
    """A question with all that its answer depends on. Picklable.

    Args:
        question: plain text.
        request: how it is asked: model, frames, method, generation.
        videos: shown together.
        history: earlier questions with their answers, which the model reads first.
        blind: the videos are named in the answer, and not read.
        compare: whether it is also asked without compression.
        key: of its answer in a journal; None outside of one.
        id: of the question in a journal, as the user gave it.
        line: its line in a file of questions; 0 where there is none.
        when_s: length in seconds of the windows by which the times are searched at which the answer
            is yes, 0 for the usual length; None asks the question once.
        part_s: start and end in seconds that the answer is labelled with; None for no label.
        stamped: whether the label is what was read, which may be shorter.
        measured: whether its answer is compared with others: all frames are shown at once, and
            nothing that was prefilled for another question is reused.
    """

    question: str
    request: Request
    videos: tuple[Footage, ...] = ()
    history: Sequence[tuple[str, str]] = ()
    blind: bool = False
    compare: bool = False
    key: str | None = None
    id: str | None = None
    line: int = field(default=0, compare=False)
    when_s: float | None = None
    part_s: tuple[float | None, float | None] | None = None
    stamped: bool = False
    measured: bool = False

    @property
    def read(self) -> Hashable:
        """Equal for questions about the same frames; None where none are read."""
        if self.blind or not self.videos:
            return None
        request = self.request
        # Of a video that is read in windows, only what the method keeps is left.
        left = None if request.video_tokens is None else (request.method, request.video_tokens)
        videos = tuple(
            video if video.identity is None else (video.identity, video.subtitles)
            for video in self.videos
        )
        return videos, request.sampling, left, request.subtitles, request.speech_model

    def labelled(self, part_s: tuple[float, float] | None) -> Ask:
        """The question with the label of what was read, if that is its label (`stamped`)."""
        return replace(self, part_s=part_s) if self.stamped and part_s is not None else self

    def named(self, answer: Answer) -> Answer:
        """The answer with the cautions of its request, and what identifies its question."""
        warnings = (*answer.warnings, *self.request.cautions)
        if answer.answer == UNKNOWN or (
            self.request.model == BUNDLED
            and answer.scoring is not ABSENT
            and answer.scoring.likeliest == UNKNOWN.split()[0]
        ):
            warnings += ("the bundled model sees no moving shapes here; choose another model",)
        if answer.videos is not ABSENT:
            each = zip(answer.videos, self.videos, strict=True)
            named = tuple(replace(one, video=video.name) for one, video in each)
            answer = replace(answer, videos=named)
        return replace(answer, warnings=warnings, **self._about(question=answer.question))

    def failure(self, error: Error) -> dict[str, Any]:
        """The JSON object in place of an answer."""
        about = self._about(question=self.question)
        return to_dict(Failure(schema=SCHEMA, error=error, **about))

    def _about(self, question: str) -> dict[str, Any]:
        about: dict[str, Any] = {"question": question}
        if self.videos:
            # The name of a file may have bytes that aren't UTF-8.
            about["video"] = valid(self.videos[0].name)
        if self.key is not None:
            about |= {"id": self.id, "key": self.key, "digest": self.videos[0].digest}
        times = zip(("start", "end"), self.part_s or (), strict=False)
        return about | {name: time for name, time in times if time is not None}


@dataclass(frozen=True)
class Progress:
    """A stage such as "load" or "vision"; a total of 0 is unknown."""

    stage: str
    done: Count = 0
    total: Count = 0


@dataclass(frozen=True)
class Warn:
    """A warning for the user before the answer."""

    text: str


@dataclass(frozen=True)
class Seen:
    """The videos were read."""

    infos: tuple[VideoInfo, ...]  # what is known of each
    times_s: tuple[tuple[float, ...], ...]  # time stamps of the frames of each
    # start and end of what was read of the first one; None where it is the whole
    part_s: tuple[float, float] | None = None
    # parts of a live source that were skipped before this one; None of another source
    dropped: int | None = None
    prepared_s: float = 0.0  # seconds from the frames to the vision encoder's input


@dataclass(frozen=True)
class Text:
    """A stretch of the answer."""

    text: str


@dataclass(frozen=True)
class Answered:
    """The last event of a question that was answered."""

    answer: Answer  # the answer
    seconds: float = 0.0  # to answer, after the video was encoded: of a batch, an equal share
    together: Count = 1  # number of questions of the batch, of those that were put to the model


@dataclass(frozen=True)
class Failed:
    """The last event of a question that has no answer."""

    error: BaseException


@dataclass(frozen=True)
class Done:
    """The last event of work on a video that isn't a question (`Engine.submit`)."""

    value: Any


Event = Progress | Warn | Seen | Text | Answered | Failed | Done
"""What happens to a question, from being read to its answer."""
