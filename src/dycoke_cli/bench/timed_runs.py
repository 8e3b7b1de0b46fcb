"""Interleaved, timed runs of configurations; a run is one video with its questions.

No cache is reused between runs: each decodes the video, encodes its frames and prefills every
prompt. The questions of a run share the encoded video.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

from dycoke_cli.answer.answer import Answer
from dycoke_cli.bench.bench_report import Stages
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.evaluation.method_row import MethodRow
from dycoke_cli.video import Sampling

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video import Clip

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """One answer, and what it took as if it had been the only question about its video."""

    answer: Answer
    seconds: Stages


Asking = tuple[str, str]
"""A video, and a question about it."""
Results = dict[str, dict[Asking, list[Measured]]]
"""By row (its text), then by video and question: the runs in order, without warm-up."""


def turns(items: Sequence[T], videos: Sequence[str], runs: int) -> Iterator[tuple[int, str, T]]:
    """The order of the runs: (round, video, item); round 0 is the warm-up.

    All items take turns within a video, so that whatever else the machine does hits all of them;
    each round begins with the next one, so that none always runs behind the same other.
    """
    for round_ in range(runs + 1):
        first = round_ % len(items)
        for video in videos:
            for item in (*items[first:], *items[:first]):
                yield round_, video, item


def measure_all(
    rows: Sequence[MethodRow],
    videos: Sequence[str],
    questions: Sequence[str],
    runs: int,
    measure: Callable[[MethodRow, str], list[Measured]],
    on_answers: Callable[[int, int], None],
) -> Results:
    """Run all configurations in turns.

    Args:
        rows: of the table.
        videos: paths.
        questions: asked about each.
        runs: that are counted.
        measure: makes one run: an answer per question, in order.
        on_answers: called with (answers so far, answers in all), the warm-up's included.
    """
    results: Results = {
        each.spec.text: {(video, question): [] for video in videos for question in questions}
        for each in rows
    }
    total = (runs + 1) * len(rows) * len(videos) * len(questions)
    done = 0
    on_answers(done, total)
    for round_, video, row in turns(rows, videos, runs):
        answers = measure(row, video)
        done += len(answers)
        on_answers(done, total)
        if round_:
            for question, measured in zip(questions, answers, strict=True):
                results[row.spec.text][video, question].append(measured)
    return results


class Timer:
    """Makes runs on a model, and times them.

    Args:
        loaded: the model.
        read: reads the frames of a video.
        questions: asked about each video.
        sampling: of rows that don't have their own number of frames.
        generation: how they are answered.
        warn: called with a sentence that can't wait.
        clock: seconds.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        read: Callable[[str, Sampling], Clip],
        questions: Sequence[str],
        sampling: Sampling,
        generation: GenerationOptions,
        warn: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loaded = loaded
        self._read = read
        self._questions = questions
        self._sampling = sampling
        self._options = generation
        self._warn = warn
        self._clock = clock

    def run(self, row: MethodRow, video: str) -> list[Measured]:
        """Answer all questions about a video from its file on.

        Raises:
            VideoError: the video can't be read.
            UsageError: the model can't be asked so, or can't understand a question.
            OutOfMemoryError: with the flag that helps.
        """
        # Garbage of the run before isn't to be collected in the time of this one.
        gc.collect()
        sampling = row.spec.sampled(self._sampling)
        if sampling is None:
            return self._without_video(row.spec.text)
        from dycoke_cli.engine.binding import bind
        from dycoke_cli.engine.session import VideoSession

        method = bind(row.method, self._loaded.traits)
        started = self._clock()
        clip = self._read(video, sampling)
        read_at = self._clock()
        session = VideoSession(self._loaded, clip, reuse=False)
        ready_at = self._clock()
        if warning := session.memory_warning(max(self._questions, key=len), method):
            self._warn(warning)
        with naming(row.spec.text):
            answers = [
                session.ask(question, method, **asdict(self._options))
                for question in self._questions
            ]
        # The first question waits for the encoder; each would, if it were asked alone.
        vision = _asked(answers[0]).seconds.vision
        return [
            measured(_asked(answer), read_at - started, ready_at - read_at, vision)
            for answer in answers
        ]

    def _without_video(self, name: str) -> list[Measured]:
        from dycoke_cli.engine.ask_together import ask_without_video

        with naming(name):
            answers = [
                ask_without_video(self._loaded, question, options=self._options)
                for question in self._questions
            ]
        return [measured(_asked(answer), 0.0, 0.0, 0.0) for answer in answers]


def measured(answer: Answer, video_decode: float, preprocess: float, vision: float) -> Measured:
    """An answer with the stages that its question shares with others counted in full.

    Args:
        answer: its own seconds begin with vision, where that was its part, and have no decoding of
            frames.
        video_decode: seconds of the run.
        preprocess: likewise.
        vision: likewise.
    """
    own = answer.seconds
    before = video_decode + preprocess + vision - own.vision
    steps = answer.tokens.generated - 1
    return Measured(
        answer,
        Stages(
            video_decode=video_decode,
            preprocess=preprocess,
            vision=vision,
            prefill=own.prefill,
            first_token=before + own.first_token,
            decode=own.decode,
            decode_per_token=own.decode / steps if steps > 0 else None,
            total=before + own.total,
        ),
    )


def _asked(answer: Answer) -> Answer:
    """An answer that the model was asked for.

    Raises:
        UsageError: it wasn't, for it can't understand the question: there is nothing to time.
    """
    if answer.refused:
        raise UsageError(f"{answer.question!r}: {answer.warnings[-1]}; ask something else")
    return answer


@contextmanager
def naming(row: str) -> Iterator[None]:
    """Errors within the block say which row of --methods they are about."""
    try:
        yield
    except (UsageError, OutOfMemoryError) as error:
        raise type(error)(f"--methods {row}: {error}") from error
