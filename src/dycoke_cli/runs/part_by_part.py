"""Questions about a video part by part (`--every`): one model, and the memory of one part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from dycoke_cli.runs.conversation import Conversation, open_session
from dycoke_cli.runs.converse import answer_each
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video.sampling import exact

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video import Clip
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.info import VideoInfo


@dataclass(frozen=True)
class Parts:
    """Parts of a video, one behind the other from `--start` to `--end`; the last may be shorter.

    Args:
        every_s: length of a part in seconds, above 0.
        until: the answer at which to stop; None asks about all parts.
    """

    every_s: float
    until: str | None = None

    def start_s(self, number: int, begin_s: float) -> float:
        """Start of a part in seconds.

        Args:
            number: of the part, from 0.
            begin_s: start of the first.
        """
        return float(exact(begin_s) + number * exact(self.every_s))

    def stops_at(self, answer: str) -> bool:
        """Whether an answer is `until`, whatever its case and a full stop behind it."""
        return self.until is not None and comparable(answer) == comparable(self.until)


def comparable(answer: str) -> str:
    """An answer without what `--until` ignores: case, outer spaces, and a full stop at the end."""
    return answer.strip().removesuffix(".").casefold()


def converse_by_part(
    conversation: Conversation,
    parts: Parts,
    listener: Listener,
    decoders: Sequence[Decoder] = (),
    loaded: LoadedModel | None = None,
) -> tuple[LoadedModel, bool]:
    """Ask all questions about each part: it is decoded, asked about, and freed.

    Args:
        conversation: one video and its questions; the sampling is that of each part.
        parts: their length, and where to stop.
        listener: receives progress and answers, each with its part.
        decoders: see `open_session`; for the first part.
        loaded: the model, if it is loaded already.

    Returns:
        The model, and whether an answer is the one to stop at.

    Raises:
        VideoError: a part can't be decoded; earlier ones are answered.
    """
    request = conversation.request
    begin_s, limit_s = request.sampling.start_s or 0.0, request.sampling.end_s
    number = 0
    with request.advising():
        while True:
            start_s = parts.start_s(number, begin_s)
            end_s = min(parts.start_s(number + 1, begin_s), limit_s or math.inf)
            part = replace(
                conversation,
                request=replace(
                    request, sampling=replace(request.sampling, start_s=start_s, end_s=end_s)
                ),
                part_s=(start_s, end_s),
            )
            loaded, info, found = ask_part(part, parts, listener, loaded, decoders)
            number, decoders = number + 1, ()
            if found or _is_over(parts.start_s(number, begin_s), limit_s, info):
                return loaded, found


def ask_part(
    part: Conversation,
    parts: Parts,
    listener: Listener,
    loaded: LoadedModel | None,
    decoders: Sequence[Decoder],
) -> tuple[LoadedModel, VideoInfo, bool]:
    """Ask about one part; its frames are freed on return.

    Args:
        part: a conversation about the part, with its times; without them, its decoder knows them.
        parts: where to stop.
        listener: receives progress and answers.
        loaded: the model, if it is loaded already.
        decoders: see `open_session`.

    Returns:
        The model, what is known of the video, and whether an answer is the one to stop at.
    """
    if part.part_s is not None:
        listener.look_at(*part.part_s)
        listener.begin_part(*part.part_s)
    session, method = open_session(part, listener, loaded, decoders, reuse=len(part.questions) > 1)
    clip = cast("Clip", session.clip)
    # The last part of a video may be shorter, and a live source knows its parts alone.
    if clip.part_s is not None and clip.part_s != part.part_s:
        listener.begin_part(*clip.part_s)
    part = replace(part, part_s=clip.part_s or part.part_s, dropped=clip.dropped)
    answers = answer_each(session, part, method, listener, first=loaded is None)
    found = any(parts.stops_at(answer.answer) for answer in answers)
    return session.loaded, clip.info, found


def _is_over(start_s: float, limit_s: float | None, info: VideoInfo) -> bool:
    """Whether no frame is left for a part that begins at `start_s`."""
    if limit_s is not None and start_s >= limit_s:
        return True
    if info.duration_s is None:
        return False
    # The last frame begins one interval before the end.
    return start_s > info.duration_s - (1 / info.fps if info.fps else 0.0) + 1e-6
