"""From a request to a task: its videos are opened and read, unless they are cached."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.binding import bind
from dycoke_cli.models.prompts.tool_turns import tools_text
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.server.allowance import Allowance
from dycoke_cli.server.chat_request import ChatRequest
from dycoke_cli.server.media import FRAMES_PER_SECOND, Media, MediaFile, opened, opened_pictures
from dycoke_cli.server.messages import VideoPart
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.session_cache import SessionCache
from dycoke_cli.server.task import Event, Task
from dycoke_cli.video.frame_windows import WINDOW
from dycoke_cli.video.kept_frames import Fit
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.video import Clip, Plan

# More than texts of any language have, about twice as many as English.
_BYTES_PER_TOKEN = 8

CheckPlan = Callable[["Plan"], None]
"""Raises UsageError where the planned frames can't fit the model's context."""
ReadClip = Callable[[MediaFile, Sampling, CheckPlan, Future[Fit] | None, Allowance], "Clip"]
"""Reads the frames of a file, once their plan is checked, at the size that a model reads."""
FitsContext = Callable[["Plan", BoundMethod, int], None]
"""The check of a plan, with a method and the number of new tokens."""


def check_text(request: ChatRequest, context: int) -> None:
    """Refuse a request whose text can't fit into the context, by its length.

    The text isn't divided into tokens for that: megabytes take the tokenizer seconds, while nobody
    else is answered.

    Args:
        request: what is asked.
        context: of the model, in tokens.

    Raises:
        Refused: the text is too long, or the answer may be as long as the context.
    """
    turns = [text for turn in request.history for text in turn]
    texts = (request.question, tools_text(request.question), *turns)
    size = sum(len(text.encode()) for text in texts)
    if size > context * _BYTES_PER_TOKEN:
        raise Refused(
            400,
            f"the messages have {size} bytes of text; with the model's context of {context} tokens "
            f"they may have {context * _BYTES_PER_TOKEN}",
            "context_length_exceeded",
            parameter="messages",
        )
    if (most := request.generation.max_new_tokens) >= context:
        raise Refused(
            400,
            f"max_tokens ({most}) must be below the model's context of {context} tokens",
            "context_length_exceeded",
            parameter="max_tokens",
        )


def prepare(
    request: ChatRequest,
    model: ModelTraits,
    media: Media,
    sessions: SessionCache,
    read: ReadClip,
    fits: FitsContext,
    send: Callable[[Event], None],
    allowance: Allowance,
    fit: Future[Fit] | None = None,
    *,
    owner: Hashable = None,
    inspect: bool = False,
) -> Task:
    """Open a request's videos, and read those that aren't cached.

    Args:
        request: what is asked.
        model: its traits, by which the methods are bound.
        media: where videos may come from.
        sessions: encoded videos, by what was read.
        read: reads the frames of a file.
        fits: called before frames are decoded.
        send: of the task.
        allowance: what reading them may take.
        fit: resize of the model, if that is loaded.
        owner: of the request, who alone finds again what is cached for it.
        inspect: whether the frames are shown to a person as well, so that they are kept as decoded.

    Raises:
        Refused: a video may not be opened, its handle is none that is known, or there are too many
            pixels.
        UsageError: the model doesn't support a method.
        VideoError: it can't be read, or not in time.
        Exception: the allowance was ended.
    """
    if inspect:
        fit = None
    methods = tuple(
        bind(method, model) for method in (request.method, request.against) if method is not None
    )

    def check(plan: Plan) -> None:
        for method in methods if request.max_tokens is None else ():
            fits(plan, method, request.generation.max_new_tokens)

    with allowance, ExitStack() as stack:
        files = [_opened(part, media, allowance, stack) for part in request.videos]
        pairs = [*zip(request.videos, files, strict=True)]
        digests = tuple(_digest(part, file, sessions, owner) for part, file in pairs)
        key: Hashable = (owner, digests, request.sampling, request.times, inspect)
        if request.max_tokens is not None:  # what is left of a video depends on these
            key = (key, request.method, request.max_tokens)
        session = sessions.find(key) if digests else None
        clips: tuple[Clip, ...] = ()
        began = time.perf_counter()
        if session is None:
            clips = tuple(
                _clip(part, file, request, read, check, fit, allowance) for part, file in pairs
            )
        seconds_read = time.perf_counter() - began
        if request.max_tokens is not None and digests:
            frames = len((clips if session is None else session.clips)[0].timestamps_s)
            if frames > WINDOW:
                methods = (bind(request.method, model.in_windows),)
        for part, digest in zip(request.videos, digests, strict=True):
            if part.uuid is not None:
                sessions.name((owner, part.uuid), digest)
    return Task(request, methods, key, clips, session, send, seconds_read, inspect)


def _opened(
    part: VideoPart, media: Media, allowance: Allowance, stack: ExitStack
) -> MediaFile | None:
    """The file of a video, as long as the stack is open; None where a handle names it."""
    if part.pictures:
        return stack.enter_context(opened_pictures(part.pictures, media, allowance))
    return None if part.url is None else stack.enter_context(opened(part.url, media, allowance))


def _digest(
    part: VideoPart, file: MediaFile | None, sessions: SessionCache, owner: Hashable
) -> str:
    if file is not None:
        return file.digest
    digest = None if part.uuid is None else sessions.named((owner, part.uuid))
    if digest is None:
        raise _unknown(part)
    return digest


def _unknown(part: VideoPart) -> Refused:
    if part.uuid is None:
        return Refused(400, "a video has no url")
    return Refused(
        404,
        "no video of this uuid or response is cached with these frames: send it again",
        "video_not_held",
    )


def _clip(
    part: VideoPart,
    file: MediaFile | None,
    request: ChatRequest,
    read: ReadClip,
    check: CheckPlan,
    fit: Future[Fit] | None,
    allowance: Allowance,
) -> Clip:
    if file is None:
        raise _unknown(part)
    sampling = request.sampling
    if file.frames is None:
        return read(file, sampling, check, fit, allowance)
    # All of them, or evenly as many as may be.
    most = sampling.max_frames if sampling.fps is not None else sampling.frames
    count = min(file.frames, most or file.frames)
    fps = FRAMES_PER_SECOND
    chosen = Sampling(frames=count, picture_fps=fps, input_fps=fps)
    clip = read(file, chosen, check, fit, allowance)
    numbers = [round(time_s * FRAMES_PER_SECOND) for time_s in clip.timestamps_s]
    return request.times.applied(clip, numbers, file.frames)
