"""From a request to a question: its videos are opened, to be read by the engine."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dycoke_cli import request as requests
from dycoke_cli.ask import Ask, Footage
from dycoke_cli.loop.engine import Engine
from dycoke_cli.models.prompts.chat import tools_text
from dycoke_cli.server.chat import ChatRequest
from dycoke_cli.server.limits import Allowance
from dycoke_cli.server.media import FRAMES_PER_SECOND, Media, MediaFile, opened, opened_pictures
from dycoke_cli.server.media_options import JpegTimes
from dycoke_cli.server.messages import VideoPart
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.service import Handles
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.video import Clip

# More than texts of any language have, about twice as many as English.
_BYTES_PER_TOKEN = 8
_NAMED = 20  # ignored keys in a warning


def check_text(request: ChatRequest, context: int) -> None:
    """Refuse a request whose text can't fit into the context, by its length.

    The text isn't divided into tokens for that: megabytes take the tokenizer seconds, while nobody
    else is answered.
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


def prepare(
    request: ChatRequest,
    defaults: requests.Request,
    media: Media,
    engine: Engine,
    handles: Handles,
    stack: ExitStack,
    allowance: Allowance,
    *,
    owner: Hashable = None,
    inspect: bool = False,
) -> Ask:
    """Open a request's videos."""
    with allowance:
        files = [_opened(part, media, allowance, stack) for part in request.videos]
    pairs = [*zip(request.videos, files, strict=True)]
    digests = [_digest(part, file, handles, owner) for part, file in pairs]
    videos = tuple(
        _footage(part, file, request, (owner, digest), allowance.pixels)
        for (part, file), digest in zip(pairs, digests, strict=True)
    )
    # The cautions are those of the server's method.
    if request.method != defaults.method:
        defaults = defaults.with_method(request.method)
    asked = replace(
        defaults,
        cautions=(*defaults.cautions, *_cautions(request)),
        sampling=request.sampling,
        generation=request.generation,
        max_tokens=request.max_tokens,
    )
    ask = Ask(request.question, asked, videos, request.history)
    for part, file in pairs:
        if file is None and not engine.holds(ask, decoded=inspect):
            raise _unknown(part)
    for part, digest in zip(request.videos, digests, strict=True):
        if part.uuid is not None:
            handles.name((owner, part.uuid), digest)
    return ask


def _cautions(request: ChatRequest) -> list[str]:
    """A warning about keys that have no effect."""
    if not request.ignored:
        return []
    named = ", ".join(request.ignored[:_NAMED])
    others = len(request.ignored) - _NAMED
    more = f" and {others:,} more" if others > 0 else ""
    return [f"these keys of the request have no effect: {named}{more}"]


def _opened(
    part: VideoPart, media: Media, allowance: Allowance, stack: ExitStack
) -> MediaFile | None:
    """The file of a video, as long as the stack is open; None where a handle names it."""
    if part.pictures:
        return stack.enter_context(opened_pictures(part.pictures, media, allowance))
    return None if part.url is None else stack.enter_context(opened(part.url, media, allowance))


def _digest(part: VideoPart, file: MediaFile | None, handles: Handles, owner: Hashable) -> str:
    if file is not None:
        return file.digest
    digest = None if part.uuid is None else handles.named((owner, part.uuid))
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


@dataclass(frozen=True)
class _Timed:
    """Gives pictures that were read the times that a request says."""

    times: JpegTimes  # of the request
    count: int  # pictures of the list

    def __call__(self, clip: Clip) -> Clip:
        numbers = [round(time_s * FRAMES_PER_SECOND) for time_s in clip.timestamps_s]
        return self.times.applied(clip, numbers, self.count)


def _footage(
    part: VideoPart, file: MediaFile | None, request: ChatRequest, content: Hashable, pixels: int
) -> Footage:
    times = request.times
    if part.times_s and times == JpegTimes():
        times = JpegTimes.of(part.times_s)
    identity = (content, times)
    if file is None:
        return Footage("", "", identity=identity)
    one = Footage(file.path, file.shown, shown_as=file.shown, identity=identity, pixels=pixels)
    if file.frames is None:
        return one
    # All of them, or evenly as many as may be.
    sampling = request.sampling
    most = sampling.max_frames if sampling.fps is not None else sampling.frames
    count = min(file.frames, most or file.frames)
    fps = FRAMES_PER_SECOND
    chosen = Sampling(frames=count, picture_fps=fps, input_fps=fps)
    is_list = isinstance(file.path, str)  # of JPEGs, all of which are decoded
    return replace(
        one,
        sampling=chosen,
        edit=_Timed(times, file.frames),
        count=file.frames if is_list else count,
    )
