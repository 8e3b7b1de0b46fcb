"""Interleaved, timed runs of configurations; a run is one video with its questions.

No cache is reused between runs: each decodes the video, encodes its frames and prefills every
prompt. The questions of a run share the encoded video.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

from dycoke_cli.answer.answer import Answer, Seconds
from dycoke_cli.ask import Answered, Ask, Footage, Seen, Warn
from dycoke_cli.bench.bench_report import Stages
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.evaluation.method_row import MethodRow
from dycoke_cli.loop.asker import Asker
from dycoke_cli.loop.pending import Client
from dycoke_cli.request import Request
from dycoke_cli.video import Sampling

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
    """Timed runs on an engine.

    Args:
        request: how the questions are asked; each row has its own method and frames.
        warn: receives warnings.
    """

    def __init__(
        self,
        asker: Asker,
        questions: Sequence[str],
        request: Request,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._asker, self._questions = asker, questions
        self._request, self._warn = request, warn

    def run(self, row: MethodRow, video: str) -> list[TimedAnswer]:
        """Decode a video, and answer all questions about it."""
        # Else the garbage of the previous run would be collected during this one.
        gc.collect()
        sampling = row.spec.sampled(self._request.sampling)
        request = replace(self._request.with_method(row.method), sampling=sampling or Sampling())
        shown, blind = (Footage(video, video),), sampling is None
        asks = [Ask(one, request, shown, blind=blind, measured=True) for one in self._questions]
        with name_row_in_errors(row.spec.text):
            pendings = self._asker.submit(*asks, client=Client(batch_size=1), streams=False)
            prepared_s, answers = 0.0, list[Answer]()
            for event in chain.from_iterable(pending.events() for pending in pendings):
                if isinstance(event, Warn):
                    self._warn(event.text)
                elif isinstance(event, Seen):
                    prepared_s = event.prepared_s
                elif isinstance(event, Answered):
                    answers.append(event.answer)
        first = _check_answered(answers[0]).seconds
        return [count_shared_stages(_check_answered(one), first, prepared_s) for one in answers]


def count_shared_stages(answer: Answer, first: Seconds, preprocess: float) -> TimedAnswer:
    """Count the stages that questions of a run share in full for one answer.

    Args:
        first: seconds of the first answer of the run, for which the video was read and encoded.
        preprocess: seconds of the run.
    """
    seconds, video_decode, vision = answer.seconds, first.video_decode, first.vision
    before = video_decode - seconds.video_decode + preprocess + vision - seconds.vision
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
