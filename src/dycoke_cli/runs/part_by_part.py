"""Questions about a video part by part (`--every`): one model, and the memory of one part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from dycoke_cli.ask import Ask, Seen
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.asker import Asker
from dycoke_cli.loop.reading import usual_decoders
from dycoke_cli.runs.converse import converse
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video.sampling import exact

if TYPE_CHECKING:
    from dycoke_cli.video.clip import VideoInfo
    from dycoke_cli.video.decoder import Decoder

MOST_PARTS = 100_000
"""Parts of one video that are listed, or windows that are searched; each is a question."""


@dataclass(frozen=True)
class Parts:
    """Parts of a video, one behind the other from `--start` to `--end`; the last may be shorter."""

    every_s: float  # length of a part in seconds, above 0
    until: str | None = None  # the answer at which to stop; None asks about all parts

    def start_s(self, number: int, begin_s: float) -> float:
        """Start of a part in seconds.

        Args:
            number: of the part, from 0.
        """
        return float(exact(begin_s) + number * exact(self.every_s))

    def stops_at(self, answer: str) -> bool:
        """Whether an answer is `until`, whatever its case and a full stop behind it."""
        return self.until is not None and comparable(answer) == comparable(self.until)


def comparable(answer: str) -> str:
    """An answer without what `--until` ignores: case, outer spaces, and a full stop at the end."""
    return answer.strip().removesuffix(".").casefold()


def check_count(length_s: float, every_s: float) -> None:
    """Check that a video has no more parts of a length than are listed."""
    if length_s > MOST_PARTS * every_s:
        raise UsageError(
            f"parts of {every_s:g} s are more than {MOST_PARTS:,} in {length_s:g} s of video: "
            f"choose longer ones, of {length_s / MOST_PARTS:.2g} s or more"
        )


def converse_by_part(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    listener: Listener,
    decoders: Sequence[Decoder] = (),
) -> bool:
    """Ask all questions about each part: it is decoded, asked about, and freed."""
    sampling = asks[0].request.sampling
    begin_s, limit_s = sampling.start_s or 0.0, sampling.end_s
    number, found, is_over = 0, False, False
    while not (found or is_over):
        start_s = parts.start_s(number, begin_s)
        end_s = min(parts.start_s(number + 1, begin_s), limit_s or math.inf)
        about = [part_of(ask, start_s, end_s) for ask in asks]
        seen, found = ask_part(asker, about, parts, listener, decoders)
        number, decoders = number + 1, ()
        is_over = _is_over(parts.start_s(number, begin_s), limit_s, seen.infos[0])
    return found


def groups_by_part(
    groups: Sequence[Sequence[Ask]], parts: Parts, on_video: Callable[[int, int], None]
) -> list[Sequence[Ask]]:
    """The questions of a run about each part of their videos.

    A video that can't be opened keeps its questions, whose failure says why.
    """
    found: list[Sequence[Ask]] = []
    with ThreadPoolExecutor(usual_decoders()) as threads:
        infos = threads.map(_info, [group[0] for group in groups])
        for number, (group, info) in enumerate(zip(groups, infos, strict=True), 1):
            on_video(number, len(groups))
            if info is None:
                found.append(group)
                continue
            sampling = group[0].request.sampling
            begin_s, limit_s = sampling.start_s or 0.0, sampling.end_s
            check_count(min(limit_s or math.inf, info.duration_s or 0.0) - begin_s, parts.every_s)
            for part in count():
                start_s = parts.start_s(part, begin_s)
                if part and _is_over(start_s, limit_s, info):
                    break
                end_s = min(parts.start_s(part + 1, begin_s), limit_s or math.inf)
                found.append([part_of(ask, start_s, end_s) for ask in group])
    return found


def _info(ask: Ask) -> VideoInfo | None:
    from dycoke_cli.video.decoder import info_of

    [video] = ask.videos
    return info_of(video.source, ask.request.sampling, ask.request.limits, video.shown_as)


def part_of(ask: Ask, start_s: float, end_s: float) -> Ask:
    """A question about a part of its video, with which its answer is labelled."""
    sampling = replace(ask.request.sampling, start_s=start_s, end_s=end_s)
    request = replace(ask.request, sampling=sampling)
    return replace(ask, request=request, part_s=(start_s, end_s), stamped=True)


def ask_part(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    listener: Listener,
    decoders: Sequence[Decoder] = (),
) -> tuple[Seen, bool]:
    """Ask about one part; its frames are freed on return.

    Returns:
        What was read of the video, and whether an answer is the one to stop at.
    """
    sampling, part_s = asks[0].request.sampling, asks[0].part_s
    if part_s is not None and sampling.start_s is not None and sampling.end_s is not None:
        listener.look_at(sampling.start_s, sampling.end_s)
        listener.begin_part(sampling.start_s, sampling.end_s)
    seen: list[Seen] = []

    def on_seen(event: Seen) -> None:
        # The last part of a video may be shorter, and a live source knows its parts alone.
        if not seen and event.part_s is not None and event.part_s != part_s:
            listener.begin_part(*event.part_s)
        seen.append(event)

    try:
        answers = converse(asker, asks, listener, on_seen=on_seen, decoders=decoders)
    finally:
        asker.free()
    return seen[0], any(parts.stops_at(answer.answer) for answer in answers)


def _is_over(start_s: float, limit_s: float | None, info: VideoInfo) -> bool:
    """Whether no frame is left for a part that begins at `start_s`."""
    if limit_s is not None and start_s >= limit_s:
        return True
    if info.duration_s is None:
        return False
    # The last frame begins one interval before the end.
    return start_s > info.duration_s - (1 / info.fps if info.fps else 0.0) + 1e-6
