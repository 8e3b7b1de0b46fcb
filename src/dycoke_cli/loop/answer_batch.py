"""Answers a batch of questions together, or by halves where that fails."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.caption import CaptionStyle
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.ask import Answered, Done, Progress, Text, Warn
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.generate import Receiver
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, VideoSession, ask_together, ask_without_video
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.loop.asker import FORGOTTEN, CancelledError, Pending
from dycoke_cli.loop.checking import checked
from dycoke_cli.loop.in_windows import encode_in_windows
from dycoke_cli.models.prompts.stock_prompt import fitted
from dycoke_cli.video.clip import ClosedError

if TYPE_CHECKING:
    from dycoke_cli.answer.caption import CaptionStyle
    from dycoke_cli.compression.method import Method
    from dycoke_cli.engine.vision import VisualCache
    from dycoke_cli.loop.asker import Video
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video.clip import Clip


# Frames and new tokens of the warm-up: one window of TTM, so that its kernels run as well.
_WARM_UP = 4


class Host(Protocol):
    """What answering needs of the engine, whose methods these are."""

    has_answered: bool  # whether a question was put to the model before
    is_warm: bool  # whether two timings can be compared

    def load(self) -> LoadedModel:
        """The model."""

    def settled(self, method: Method, *, in_windows: bool = False) -> Method:
        """A method settled for the model."""

    def cache_for(self, video: Video) -> VisualCache | None:
        """Where a video is kept on disk once it is encoded."""

    def keeps(self, video: Video) -> bool:
        """Whether what is computed of a video is kept for another question."""

    def read_again(self, pending: Pending) -> None:
        """Read a question's video for it alone."""

    def free(self) -> bool:
        """Free the videos that nobody asks about now; whether there were any."""

    def halve(self, most: int) -> None:
        """Answer no more questions together from now on."""

    def count(self, kind: str, name: str, *values: float, **labels: str) -> None:
        """Count something."""


def answer_batch(engine: Host, batch: Sequence[Pending]) -> None:
    """Answer questions of one group; each gets its last event, unless nobody waits for it."""
    began = time.monotonic()
    for pending in batch:
        engine.count("observe", "wait_seconds", began - pending.since_s)
    parts = deque([batch])
    while parts:
        part = [one for one in parts.popleft() if not one.is_cancelled]
        try:
            if part:
                _ask(engine, part)
        except CancelledError:
            pass
        except Exception as error:
            parts.extendleft(reversed(_again(engine, part, error)))
    for _ in batch:
        engine.count("observe", "answer_seconds", (time.monotonic() - began) / len(batch))


def _again(engine: Host, batch: Sequence[Pending], error: Exception) -> list[Sequence[Pending]]:
    """The questions of a failed batch that are asked again, as batches; the others fail."""
    left = [one for one in batch if not one.has_ended]
    for pending in left:
        if pending.has_text:  # it would be shown twice
            pending.fail(error)
    left = [one for one in left if not one.has_ended]
    # Encoded videos that nobody asks about may have the memory that is missing.
    freed = isinstance(error, OutOfMemoryError) and engine.free()
    if len(batch) == 1 and not freed:
        for pending in left:
            pending.fail(error)
        return []
    # One question may have failed the whole batch, or the memory is too small for it: each half
    # is tried alone, so that only the question that fails has no answer.
    half = (len(left) + 1) // 2
    if isinstance(error, OutOfMemoryError) and len(batch) > 1:
        engine.halve(len(batch) // 2)
    return [left[:half], left[half:]]


def _ask(engine: Host, batch: Sequence[Pending]) -> None:
    engine.count("add", "batches_total")
    first, loaded = batch[0], engine.load()
    ask, generation = first.ask, first.ask.request.generation

    def on_progress(stage: str, done: int, total: int) -> None:  # called at every token
        if all(one.is_cancelled for one in batch):
            raise CancelledError(FORGOTTEN)
        for one in batch:
            one.send(Progress(stage, done, total))

    if first.video is None:
        on_text = partial(_send_text, first) if first.streams else None
        answer = ask_without_video(
            loaded,
            ask.question,
            ask.history,
            generation,
            on_text,
            on_token=lambda done: on_progress("decode", done, generation.max_new_tokens),
        )
        _finish(engine, first, answer, _seconds_of_each([answer]))
        return
    if not _is_encoded_for(engine, first):
        return
    sessions = [_session(one) for one in batch]
    session = sessions[0]
    for one in sessions:
        one.on_progress = on_progress
    if first.work is not None:
        first.send(Done(first.work(session, first.send)))
        return
    if not first.client.bulk and not engine.has_answered:
        _warn_of_memory(first, session)
    engine.has_answered = True
    if ask.compare and not engine.is_warm:
        # Else the first of the two timings would include what a process does only once.
        first.send(Progress("warm_up"))
        _warm_up(first, session)
        engine.is_warm = True
    both = zip(sessions, batch, strict=True)
    questions = [_question(engine, own, one) for own, one in both]
    answers = ask_together(questions, first.methods[0], generation)
    seconds = _seconds_of_each(answers)
    for pending, own, answer in zip(batch, sessions, answers, strict=True):
        if pending.has_ended:
            continue
        if ask.compare:
            answer = _compared(pending, session, answer)
        if pending.ask.check is not None:
            answer = _checked(pending, own, answer, pending.ask.check)
        _finish(engine, pending, answer, seconds, len(answers))


def _session(pending: Pending) -> VideoSession:
    assert pending.video is not None
    assert pending.video.session is not None
    return pending.video.session


def _is_encoded_for(engine: Host, pending: Pending) -> bool:
    """Encode a video that comes in windows; whether the question can be asked about it."""
    video, request = pending.video, pending.ask.request
    assert video is not None
    windows = video.reading.windows
    if windows is None:
        return True
    several = windows.several(len(video.reading.plans[0].times_s))
    method = engine.settled(request.method, in_windows=several)
    pending.methods = [method]
    if video.session is None:
        reuse = engine.keeps(video)
        cache = engine.cache_for(video)
        _open_in_windows(video, pending, method, engine.load(), cache, reuse=reuse)
    windowed = _session(pending).windowed
    if windowed is not None and windowed.method != method:
        engine.read_again(pending)
        return False
    return True


def open_video(
    video: Video, loaded: LoadedModel, cache: VisualCache | None, *, reuse: bool
) -> None:
    """Make the inputs of the model of frames that were read."""
    began = time.perf_counter()
    clip, *others = [fitted(clip, loaded.fit) for clip in video.reading.clips]
    _open(video, loaded, cache, reuse, clip=clip, others=others)
    video.prepared_s = time.perf_counter() - began
    video.send(video.seen)


def _open_in_windows(
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


def _question(engine: Host, session: VideoSession, pending: Pending) -> Question:
    """A question for `ask_together`, whose answer is sent as soon as it ends."""
    ask = pending.ask
    # A run, a comparison and a check take the answers of the whole batch, with their share of its
    # time.
    waits = pending.client.bulk or ask.compare or ask.check is not None
    return Question(
        session,
        ask.question,
        ask.history,
        Receiver(
            partial(_send_text, pending) if pending.streams else None,
            (lambda answer: None) if waits else partial(_finish, engine, pending),
            lambda: pending.is_cancelled,
        ),
        ask.request.generation.max_new_tokens,
    )


def _send_text(pending: Pending, text: str) -> None:
    pending.send(Text(text))


def _finish(
    engine: Host, pending: Pending, answer: Answer, seconds: float = 0.0, together: int = 1
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
    engine.count("add", "answers_total", method=answer.method["name"])
    engine.count("add", "tokens_generated_total", answer.tokens.generated)
    engine.count("add", "visual_tokens_total", answer.tokens.visual)
    engine.count("add", "visual_tokens_kept_total", answer.tokens.visual_kept)
    pending.send(Answered(ask.named(answer), seconds, together))


def _compared(pending: Pending, session: VideoSession, answer: Answer) -> Answer:
    """An answer with that of the baseline to the same question."""
    ask = pending.ask
    pending.send(Progress("comparison"))
    # With the same sampling seed, so that only the compression differs. And with the same history,
    # that of the answers which were shown: with its own earlier answers, the baseline would answer
    # another question.
    generation = replace(ask.request.generation, seed=answer.seed)
    [plain] = ask_together([Question(session, ask.question, ask.history)], BASELINE, generation)
    return replace(answer, compared_to=plain)


def _checked(
    pending: Pending, session: VideoSession, answer: Answer, style: CaptionStyle
) -> Answer:
    """An answer with the probabilities of its sentences, of which each is asked about alone.

    So only the first one prefills the video: the others read what it kept.
    """

    def ask(question: str, options: GenerationOptions) -> Answer:
        [found] = ask_together([Question(session, question)], pending.methods[0], options)
        return found

    pending.send(Progress("sentences"))
    return checked(answer, style, ask)


def _warn_of_memory(pending: Pending, session: VideoSession) -> None:
    # Before anything runs: a system without free memory kills a process without an error.
    ask = pending.ask
    warning = session.memory_warning(ask.question, pending.methods[0], ask.history)
    if warning is not None:
        pending.send(Warn(warning))


def _warm_up(pending: Pending, session: VideoSession) -> None:
    """Answer about a few frames, with and without compression, before two timings are compared.

    A process loads kernels, selects algorithms and reserves memory only once. The video of
    `session` isn't encoded by this, so that its own encoding is measured.
    """
    clip = cast("Clip", session.clip)
    # Without their resize: of so few frames, a processor may make larger ones.
    short = replace(
        clip,
        frames=clip.frames[:_WARM_UP],
        timestamps_s=clip.timestamps_s[:_WARM_UP],
        resize=None,
    )
    unmeasured = VideoSession(session.loaded, short, reuse=False)
    options = GenerationOptions(max_new_tokens=_WARM_UP)
    for method in (pending.methods[0], BASELINE):
        ask_together([Question(unmeasured, "?")], method, options)


def _seconds_of_each(answers: Sequence[Answer]) -> float:
    """Seconds per question of a batch, without decoding and encoding of the videos."""
    # `total` is that of the batch in each answer; `vision` is each video's own.
    taken = [answer.seconds for answer in answers]
    whole = taken[0].total - taken[0].video_decode
    return (whole - sum(one.vision for one in taken)) / len(answers)
