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
class TimedAnswer:
    """Answer with stage times, as if it were the only question about its video."""

    answer: Answer
    seconds: Stages


VideoQuestion = tuple[str, str]
"""Path of a video, and a question about it."""
Results = dict[str, dict[VideoQuestion, list[TimedAnswer]]]
"""Answers by spec of the row, then by video and question; one per run, without the warm-up."""


def interleave(
    items: Sequence[T], videos: Sequence[str], runs: int
) -> Iterator[tuple[int, str, T]]:
    """Order of the runs: (round, video, item); round 0 is the warm-up.

    Items alternate within a video, so that a slow phase of the machine affects all of them. Each
    round begins with the next item, so that none profits from always following the same other.
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
    measure: Callable[[MethodRow, str], list[TimedAnswer]],
    on_answers: Callable[[int, int], None],
) -> Results:
    """Run all configurations, interleaved; see `interleave`.

    Args:
        measure: runs a configuration on a video; returns an answer per question, in order.
    """
    results: Results = {
        each.spec.text: {(video, question): [] for video in videos for question in questions}
        for each in rows
    }
    total = (runs + 1) * len(rows) * len(videos) * len(questions)
    done = 0
    on_answers(done, total)
    for round_, video, row in interleave(rows, videos, runs):
        answers = measure(row, video)
        done += len(answers)
        on_answers(done, total)
        if round_:
            for question, timed in zip(questions, answers, strict=True):
                results[row.spec.text][video, question].append(timed)
    return results


class Timer:
    """Timed runs on a local model.

    Args:
        clock: returns seconds.
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

    def run(self, row: MethodRow, video: str) -> list[TimedAnswer]:
        """Decode a video, and answer all questions about it."""
        # Else the garbage of the previous run would be collected during this one.
        gc.collect()
        sampling = row.spec.sampled(self._sampling)
        if sampling is None:
            return self._without_video(row.spec.text)
        from dycoke_cli.engine.binding import bind
        from dycoke_cli.engine.session import VideoSession

        method = bind(row.method, self._loaded.traits)
        started = self._clock()
        # The frames are decoded in each run, although they are the same: decoding is a stage.
        clip = self._read(video, sampling)
        read_at = self._clock()
        session = VideoSession(self._loaded, clip, reuse=False)
        ready_at = self._clock()
        if warning := session.memory_warning(max(self._questions, key=len), method):
            self._warn(warning)
        with name_row_in_errors(row.spec.text):
            answers = [
                session.ask(question, method, **asdict(self._options))
                for question in self._questions
            ]
        # The session encodes the video for the first question only; asked alone, each question
        # would wait for the encoder.
        vision = _check_answered(answers[0]).seconds.vision
        return [
            count_shared_stages(
                _check_answered(answer), read_at - started, ready_at - read_at, vision
            )
            for answer in answers
        ]

    def _without_video(self, name: str) -> list[TimedAnswer]:
        from dycoke_cli.engine.ask_together import ask_without_video

        with name_row_in_errors(name):
            answers = [
                ask_without_video(self._loaded, question, options=self._options)
                for question in self._questions
            ]
        return [count_shared_stages(_check_answered(answer), 0.0, 0.0, 0.0) for answer in answers]


def count_shared_stages(
    answer: Answer, video_decode: float, preprocess: float, vision: float
) -> TimedAnswer:
    """Count the stages that questions of a run share in full for one answer.

    Args:
        answer: its seconds include vision if it was the first of the run, and no video decode.
        video_decode: seconds of the run.
        preprocess: seconds of the run.
        vision: seconds of the run.
    """
    seconds = answer.seconds
    before = video_decode + preprocess + vision - seconds.vision
    steps = answer.tokens.generated - 1
    return TimedAnswer(
        answer,
        Stages(
            video_decode=video_decode,
            preprocess=preprocess,
            vision=vision,
            prefill=seconds.prefill,
            first_token=before + seconds.first_token,
            decode=seconds.decode,
            decode_per_token=seconds.decode / steps if steps > 0 else None,
            total=before + seconds.total,
        ),
    )


def _check_answered(answer: Answer) -> Answer:
    """Return an answer unless it is a refusal, which has no times."""
    if answer.refused:
        raise UsageError(f"{answer.question!r}: {answer.warnings[-1]}; ask something else")
    return answer


@contextmanager
def name_row_in_errors(row: str) -> Iterator[None]:
    """Prefix errors within the block with the row of --methods."""
    try:
        yield
    except (UsageError, OutOfMemoryError) as error:
        raise type(error)(f"--methods {row}: {error}") from error
