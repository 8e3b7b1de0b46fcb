"""Questions about a video while it comes (`dycoke watch`), in the memory of a few windows.

Windows of a stream or a growing file are parts of one video; the clips of a folder are videos, each
asked about part by part. Always the newest is asked about: what comes meanwhile is dropped, but for
the newest of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from dycoke_cli.ask import Ask
from dycoke_cli.errors import VideoError
from dycoke_cli.loop.asker import Asker
from dycoke_cli.runs.converse import footage
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.part_by_part import Parts, ask_part, converse_by_part
from dycoke_cli.unicode import display_name
from dycoke_cli.video.file_names import is_video
from dycoke_cli.video.live.live_stream import EndedError, LiveAddress, LiveStream

if TYPE_CHECKING:
    from dycoke_cli.video.decoder import Decoder

LOOK_S = 1.0
"""Seconds between two looks into a folder; a clip is complete where its size stays the same."""


class _Tally:
    """What was asked about, and what was dropped."""

    def __init__(self, what: str, advice: str, listener: Listener) -> None:
        self._what, self._advice, self._listener = what, advice, listener
        self.asked = self._dropped = 0

    def drop(self, dropped: int) -> None:
        """Count what was dropped in all."""
        if dropped and not self._dropped:
            self._listener.note(
                f"Asking takes longer than a {self._what} lasts: the newest {self._what} is asked "
                f"about, and others are dropped; {self._advice}"
            )
        self._dropped = dropped

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell the numbers at the end of the block, whatever ends it."""
        try:
            yield
        finally:
            if self.asked:
                count = f"{self.asked} {self._what}{'s' * (self.asked != 1)}"
                lost = f", {self._dropped} dropped" if self._dropped else ""
                self._listener.note(f"Asked about {count}{lost}")


def watch_stream(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    address: LiveAddress,
    timeout_s: float,
    listener: Listener,
) -> None:
    """Ask about each window of a growing file, a device or a stream, until it ends.

    Args:
        timeout_s: seconds without data after which it counts as ended.
    """
    request = asks[0].request
    # Audio isn't read of what comes.
    sampling = replace(request.sampling, start_s=0.0, end_s=parts.every_s, audio=False)
    request = replace(request, sampling=sampling)
    asks = [replace(ask, request=request, stamped=True) for ask in asks]
    stream = LiveStream(address, sampling, request.limits, timeout_s)
    tally = _Tally("window", "a longer --every or fewer --frames help", listener)
    found = False
    with tally.told(), stream:
        while not found:
            decoder = cast("Decoder", stream.next_window())
            try:
                _, found = ask_part(asker, asks, parts, listener, [decoder])
            except EndedError as ended:
                listener.note(str(ended) or f"{address.name} has ended")
                return
            tally.asked += 1
            tally.drop(stream.dropped)


def watch_folder(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    folder: str,
    timeout_s: float | None,
    listener: Listener,
) -> None:
    """Ask about each clip that comes into a folder, part by part.

    A clip that can't be read is reported, and the watch goes on.

    Args:
        timeout_s: seconds without a new clip after which the watch ends; None for no end.
    """
    tally = _Tally("clip", f"`dycoke batch {folder} …` asks about all", listener)
    found, dropped = False, 0
    with tally.told():
        done = {*_clips(folder)}
        before = dict[str, int]()
        since_s = time.monotonic()
        while not found and (timeout_s is None or time.monotonic() - since_s < timeout_s):
            sizes = _clips(folder)
            done.intersection_update(sizes)
            complete = [n for n, size in sizes.items() if n not in done and before.get(n) == size]
            before = {name: size for name, size in sizes.items() if name not in done}
            if not complete:
                time.sleep(LOOK_S)
                continue
            done.update(complete)
            dropped += len(complete) - 1
            tally.drop(dropped)
            clip = os.path.join(folder, complete[-1])
            listener.begin_video(clip)
            try:
                about = [replace(ask, videos=(footage(clip, ask.request),)) for ask in asks]
                found = converse_by_part(asker, about, parts, listener)
                tally.asked += 1
            except VideoError as error:
                listener.failed(str(error))
            since_s = time.monotonic()
        if not found:
            listener.note(
                f"{display_name(folder)} has had no new clip for {timeout_s:g} s (--timeout)"
            )


def _clips(folder: str) -> dict[str, int]:
    """Size of each video of a folder, by name; in the order in which they were written."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for one in entries:
                with suppress(FileNotFoundError):  # removed meanwhile
                    if is_video(one.name) and one.is_file():
                        status = one.stat()
                        found.append((status.st_mtime_ns, one.name, status.st_size))
    except OSError as error:
        raise VideoError(
            f"{display_name(folder)} can't be read ({error.strerror}): name a folder that can"
        ) from error
    return {name: size for _, name, size in sorted(found)}
