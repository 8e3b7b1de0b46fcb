"""Answers a batch of questions together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.ask import Answered, Done, Progress, Text, Warn
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.generate import Receiver
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, VideoSession, ask_together, ask_without_video
from dycoke_cli.loop.asker import FORGOTTEN, CancelledError, Pending
from dycoke_cli.loop.in_windows import encode_in_windows
from dycoke_cli.models.prompts.stock_prompt import fitted
from dycoke_cli.video.clip import ClosedError

if TYPE_CHECKING:
    from dycoke_cli.compression.method import Method
    from dycoke_cli.engine.vision import VisualCache
    from dycoke_cli.loop.asker import Video
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video.clip import Clip


Count = Callable[..., None]
"""Counts something (`Engine.count`)."""
# Frames and new tokens of the warm-up: one window of TTM, so that its kernels run as well.
_WARM_UP = 4


def ask(loaded: LoadedModel, batch: Sequence[Pending], count: Count) -> None:
    """Answer questions of one group, whose videos are prepared; each gets its last event."""
    first = batch[0]
    asked, generation = first.ask, first.ask.request.generation

    def on_progress(stage: str, done: int, total: int) -> None:  # called at every token
        if all(one.is_cancelled for one in batch):
            raise CancelledError(FORGOTTEN)
        for one in batch:
            one.send(Progress(stage, done, total))

    if first.video is None:
        on_text = partial(_send_text, first) if first.streams else None
        answer = ask_without_video(
            loaded,
            asked.question,
            asked.history,
            generation,
            on_text,
            on_token=lambda done: on_progress("decode", done, generation.max_tokens),
        )
        _finish(count, first, answer, _seconds_of_each([answer]))
        return
    sessions = [one.session for one in batch]
    for one in sessions:
        one.on_progress = on_progress
    if first.work is not None:
        first.send(Done(first.work(sessions[0], first.send)))
        return
    questions = [_question(count, one) for one in batch]
    answers = ask_together(questions, first.methods[0], generation)
    seconds = _seconds_of_each(answers)
    for pending, answer in zip(batch, answers, strict=True):
        if pending.has_ended:
            continue
        if asked.compare:
            answer = _compared(pending, answer)
        _finish(count, pending, answer, seconds, len(answers))


def open_video(
    video: Video, loaded: LoadedModel, cache: VisualCache | None, *, reuse: bool
) -> None:
    """Make the inputs of the model of frames that were read."""
    began = time.perf_counter()
    clip, *others = [fitted(clip, loaded.fit) for clip in video.reading.clips]
    _open(video, loaded, cache, reuse, clip=clip, others=others)
    video.prepared_s = time.perf_counter() - began
    video.send(video.seen)


def open_in_windows(
    video: Video,
    pending: Pending,
    method: Method,
    loaded: LoadedModel,
    cache: VisualCache | None,
    *,
    reuse: bool,
) -> None:
    """Encode a video while it is decoded."""
    reading = video.reading
    assert reading.windows is not None, "else it isn't read in windows"

    def on_frames(done: int, total: int) -> None:
        if all(one.is_cancelled for one in video.asked):
            raise CancelledError(FORGOTTEN)
        video.send(Progress("vision", done, total))

    try:
        windowed = encode_in_windows(
            loaded,
            method,
            reading.plans[0],
            reading.windows,
            pending.ask.request,
            cache,
            on_frames,
        )
    except Exception:
        # A broken video gives the same error however fast the model is.
        reading.windows.close()
        with suppress(ClosedError):
            reading.wait()
        raise
    reading.wait()
    windowed = replace(windowed, warnings=(*reading.warnings, *windowed.warnings))
    _open(video, loaded, cache, reuse, clip=reading.clips[0], windowed=windowed)
    video.send(video.seen)


def _open(
    video: Video, loaded: LoadedModel, cache: VisualCache | None, reuse: bool, **given: Any
) -> None:
    seconds = video.reading.seconds
    given |= {"seconds_video_decode": seconds, "reuse": reuse, "cache": cache}
    video.session = VideoSession(loaded, **given)
    methods = [method for pending in video.asked for method in pending.methods]
    video.session.record_attention_for(methods)


def _question(count: Count, pending: Pending) -> Question:
    """A question for `ask_together`, whose answer is sent as soon as it ends."""
    ask = pending.ask
    # A run and a comparison take the answers of the whole batch, with their share of its time.
    waits = pending.client.bulk or ask.compare
    return Question(
        pending.session,
        ask.question,
        ask.history,
        Receiver(
            partial(_send_text, pending) if pending.streams else None,
            (lambda answer: None) if waits else partial(_finish, count, pending),
            lambda: pending.is_cancelled,
        ),
        ask.request.generation.max_tokens,
    )


def _send_text(pending: Pending, text: str) -> None:
    pending.send(Text(text))


def _finish(
    count: Count, pending: Pending, answer: Answer, seconds: float = 0.0, together: int = 1
) -> None:
    """Send an answer, with what identifies its question."""
    ask, video = pending.ask, pending.video
    clip = None if video is None else video.reading.clips[0]
    if clip is not None:
        ask = ask.labelled(clip.part_s)
    if clip is not None and clip.dropped is not None:
        answer = replace(answer, dropped=clip.dropped)
    if answer.compared_to is not ABSENT:
        answer = replace(answer, compared_to=ask.named(answer.compared_to))
    count("add", "answers_total", method=answer.method["name"])
    count("add", "tokens_generated_total", answer.tokens.generated)
    count("add", "visual_tokens_total", answer.tokens.visual)
    count("add", "visual_tokens_kept_total", answer.tokens.visual_kept)
    pending.send(Answered(ask.named(answer), seconds, together))


def _compared(pending: Pending, answer: Answer) -> Answer:
    """An answer with that of the baseline to the same question."""
    ask = pending.ask
    pending.send(Progress("comparison"))
    # With the same sampling seed, so that only the compression differs. And with the same history,
    # that of the answers which were shown: with its own earlier answers, the baseline would answer
    # another question.
    generation = replace(ask.request.generation, seed=answer.seed)
    question = Question(pending.session, ask.question, ask.history)
    [plain] = ask_together([question], BASELINE, generation)
    return replace(answer, compared_to=plain)


def warn_of_memory(pending: Pending) -> None:
    """Warn where a question may not fit into the free memory."""
    # Before anything runs: a system without free memory kills a process without an error.
    ask = pending.ask
    warning = pending.session.memory_warning(ask.question, pending.methods[0], ask.history)
    if warning is not None:
        pending.send(Warn(warning))


def warm_up(pending: Pending) -> None:
    """Answer about a few frames, with and without compression, before two timings are compared.

    A process loads kernels, selects algorithms and reserves memory only once. The video of
    the question isn't encoded by this, so that its own encoding is measured.
    """
    pending.send(Progress("warm_up"))
    session = pending.session
    clip = cast("Clip", session.clip)
    # Without their resize: of so few frames, a processor may make larger ones.
    short = replace(
        clip,
        frames=clip.frames[:_WARM_UP],
        timestamps_s=clip.timestamps_s[:_WARM_UP],
        resize=None,
    )
    unmeasured = VideoSession(session.loaded, short, reuse=False)
    options = GenerationOptions(max_tokens=_WARM_UP)
    for method in (pending.methods[0], BASELINE):
        ask_together([Question(unmeasured, "?")], method, options)


def _seconds_of_each(answers: Sequence[Answer]) -> float:
    """Seconds per question of a batch, without decoding and encoding of the videos."""
    # `total` is that of the batch in each answer; `vision` is each video's own.
    taken = [answer.seconds for answer in answers]
    whole = taken[0].total - taken[0].video_decode
    return (whole - sum(one.vision for one in taken)) / len(answers)
