"""Times runs on a server: what can be seen of them from outside.

Nothing is reused from one request to the next: each says that its video is another one, so that the
server has it in no cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from dycoke_cli.answer.answer import Answer
from dycoke_cli.bench.bench_report import Stages
from dycoke_cli.bench.timed_runs import Measured, naming
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.method_row import MethodRow
from dycoke_cli.runs.jobs import JobQuestion
from dycoke_cli.runs.remote.sent_video import NO_VIDEO
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.video import Sampling

if TYPE_CHECKING:
    from dycoke_cli.video import Clip


class RemoteTimer:
    """Makes runs on a server, and times them; see `timed_runs.Timer`.

    Args:
        model: that answers.
        read: reads the frames of a video.
        questions: asked about each video.
        sampling: of rows that don't have their own number of frames.
        generation: how they are answered.
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

    def run(self, row: MethodRow, video: str) -> list[Measured]:
        """Answer all questions about a video from its file on, one after the other.

        Raises:
            VideoError: the video can't be read.
            DycokeError: see `ServedModel.ask`.
        """
        sampling = row.spec.sampled(self._sampling)
        began = time.perf_counter()
        clip = None if sampling is None else self._read(video, sampling)
        read_s = time.perf_counter() - began if clip is not None else 0.0
        return [self._ask(row, question, clip, read_s) for question in self._questions]

    def _ask(self, row: MethodRow, question: str, clip: Clip | None, read_s: float) -> Measured:
        began = time.perf_counter()
        sent = NO_VIDEO if clip is None else self._model.send(clip, read_s, mark=uuid4().hex)
        prepared_s = time.perf_counter() - began
        with naming(row.spec.text):
            answer = self._model.ask(
                JobQuestion(None, question), sent, row.method, self._options, lambda text: None
            )
        return timed(answer, read_s, prepared_s if clip is not None else 0.0)


def timed(answer: Answer, read_s: float, prepared_s: float) -> Measured:
    """An answer with its stages.

    Args:
        answer: of a server.
        read_s: that reading the video took; part of the answer's times.
        prepared_s: that making the request took, which isn't.
    """
    own, generated = answer.seconds, answer.tokens.generated
    first = own.first_token
    decode = None if first is None else own.total - first
    steps = (generated or 0) - 1
    return Measured(
        answer,
        Stages(
            video_decode=read_s,
            preprocess=prepared_s,
            vision=own.vision,
            prefill=own.prefill,
            first_token=None if first is None else prepared_s + first,
            decode=decode,
            decode_per_token=None if decode is None or steps < 1 else decode / steps,
            total=prepared_s + own.total,
        ),
    )
