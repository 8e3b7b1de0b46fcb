"""Timed runs on a server, measured on the client.

Each request marks its video as a new one, so that the server's caches can't answer it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from dycoke_cli.answer.answer import Answer
from dycoke_cli.bench.bench_report import Stages
from dycoke_cli.bench.timed_runs import TimedAnswer, name_row_in_errors
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.method_row import MethodRow
from dycoke_cli.runs.remote.sent_video import NO_VIDEO
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.video import Sampling

if TYPE_CHECKING:
    from dycoke_cli.video import Clip


class RemoteTimer:
    """Timed runs on a server; see `timed_runs.Timer`.

    Args:
        model: the served model.
        read: reads the frames of a video.
        questions: questions about each video.
        sampling: frame sampling of rows without their own number of frames.
        generation: generation options.
    """

    def __init__(
        self,
        model: ServedModel,
        read: Callable[[str, Sampling], Clip],
        questions: Sequence[str],
        sampling: Sampling,
        generation: GenerationOptions,
    ) -> None:
        self._model, self._read = model, read
        self._questions, self._sampling, self._options = questions, sampling, generation

    def run(self, row: MethodRow, video: str) -> list[TimedAnswer]:
        """Decode a video, and send all questions about it, one after the other.

        Raises:
            VideoError: the video can't be read.
            DycokeError: see `ServedModel.ask`.
        """
        sampling = row.spec.sampled(self._sampling)
        began = time.perf_counter()
        clip = None if sampling is None else self._read(video, sampling)
        read_s = time.perf_counter() - began if clip is not None else 0.0
        return [self._ask(row, question, clip, read_s) for question in self._questions]

    def _ask(self, row: MethodRow, question: str, clip: Clip | None, read_s: float) -> TimedAnswer:
        # The mark makes the request unique: the server can't answer it from a cache.
        began = time.perf_counter()
        sent = NO_VIDEO if clip is None else self._model.send(clip, read_s, mark=uuid4().hex)
        prepared_s = time.perf_counter() - began
        with name_row_in_errors(row.spec.text):
            answer = self._model.ask(
                question, (), sent, row.method, self._options, lambda text: None
            )
        return with_stages(answer, read_s, prepared_s if clip is not None else 0.0)


def with_stages(answer: Answer, read_s: float, prepared_s: float) -> TimedAnswer:
    """Add the stage times of a run to an answer.

    Args:
        answer: from a server.
        read_s: seconds of reading the video; the answer's times include them.
        prepared_s: seconds of preparing the request; the answer's times don't include them.
    """
    seconds, generated = answer.seconds, answer.tokens.generated
    first = seconds.first_token
    decode = None if first is None else seconds.total - first
    steps = (generated or 0) - 1
    return TimedAnswer(
        answer,
        Stages(
            video_decode=read_s,
            preprocess=prepared_s,
            vision=seconds.vision,
            prefill=seconds.prefill,
            first_token=None if first is None else prepared_s + first,
            decode=decode,
            decode_per_token=None if decode is None or steps < 1 else decode / steps,
            total=prepared_s + seconds.total,
        ),
    )
