"""Questions about a video while it comes (`dycoke watch`), in the memory of a few windows.

Windows of a stream or a growing file are parts of one video, of which always the newest is asked
about: what comes meanwhile is dropped, but for the newest of it. The clips of a folder are videos,
each asked about part by part. All are asked about, in the order in which they were complete.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from dycoke_cli.ask import Ask
from dycoke_cli.errors import VideoError
from dycoke_cli.loop.asker import Asker
from dycoke_cli.runs.converse import footage
from dycoke_cli.runs.discovery import videos_among
from dycoke_cli.runs.file_walk import FileState, files_in, state_of
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.parts import Parts, ask_part, converse_by_part
from dycoke_cli.unicode import display_name
from dycoke_cli.video.live_stream import EndedError, LiveInput, LiveStream

if TYPE_CHECKING:
    from dycoke_cli.video.decoder import Decoder

LOOK_S = 1.0
"""Seconds between two looks into a folder."""
QUIET_S = 20.0
"""Seconds without a change after which a clip is complete: recorders write in bursts."""


def watch_stream(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    source: LiveInput,
    timeout_s: float,
    listener: Listener,
) -> None:
    """Ask about each window of stdin or a growing file, until it ends.

    Args:
        timeout_s: seconds without data after which it counts as ended.
    """
    request = asks[0].request
    sampling = replace(request.sampling, start_s=0.0, end_s=parts.every_s)
    request = replace(request, sampling=sampling)
    asks = [replace(ask, request=request, stamped=True) for ask in asks]
    stream = LiveStream(source, sampling, request.limits, timeout_s)
    found = told = False
    with stream:
        while not found:
            decoder = cast("Decoder", stream.next_window())
            try:
                _, found = ask_part(asker, asks, parts, listener, [decoder])
            except EndedError as ended:
                listener.note(str(ended) or f"{source.name} has ended")
                return
            if stream.dropped and not told:
                told = True
                listener.note(
                    "Asking takes longer than a window lasts: the newest window is asked about, "
                    "and others are dropped; a longer --every or fewer frames help"
                )


def watch_folder(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    folder: str,
    timeout_s: float | None,
    listener: Listener,
) -> None:
    """Ask about each clip that comes into a folder or those in it, part by part.

    A clip that can't be read is reported, and the watch goes on.

    Args:
        timeout_s: seconds without a new clip after which the watch ends; None for no end.
    """
    arrivals = _Arrivals(folder)
    since_s = time.monotonic()
    found = told = False
    while not found and (timeout_s is None or time.monotonic() - since_s < timeout_s):
        arrivals.look()
        if not arrivals.waiting:
            since_s = time.monotonic() if arrivals.coming else since_s
            listener.stage("clip")
            time.sleep(LOOK_S)
            continue
        _, clip, _ = arrivals.waiting.pop(0)
        if arrivals.waiting and not told:
            told = True
            listener.note(
                "Clips wait: all are asked about, in the order in which they came; a longer "
                "--every or fewer frames make answers faster"
            )
        listener.begin_video(clip)
        try:
            about = [replace(ask, videos=(footage(clip, ask.request),)) for ask in asks]
            found = converse_by_part(asker, about, parts, listener)
        except VideoError as error:
            listener.failed(str(error))
        since_s = time.monotonic()
    if not found:
        listener.note(f"{display_name(folder)} has had no new clip for {timeout_s:g} s (--timeout)")


class _Arrivals:
    """Clips that come into a folder, or are written anew there.

    Attributes:
        waiting: those that are complete, in the order in which they were.
        coming: whether there are others, which may still be written.
    """

    def __init__(self, folder: str) -> None:
        self.waiting: list[FileState] = []
        self.coming = False
        self._folder = folder
        self._looked_s = time.monotonic()
        self._since_s = dict.fromkeys(_clips(folder), self._looked_s)
        self._done = {*self._since_s}  # that were there, or are complete

    def look(self) -> None:
        """Find clips that are complete; some time after the last look."""
        if (now_s := time.monotonic()) - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        self._since_s = {one: self._since_s.get(one, now_s) for one in _clips(self._folder)}
        self._done &= self._since_s.keys()
        left = [one for one in self._since_s if one not in self._done]
        complete = [one for one in left if now_s - self._since_s[one] >= QUIET_S]
        self._done.update(complete)
        self.coming = len(left) > len(complete)
        # One that changes while it waits isn't complete.
        self.waiting = [one for one in self.waiting if one in self._done] + complete


def _clips(folder: str) -> list[FileState]:
    """The videos of a folder as they are, in the order in which they were written."""
    videos = videos_among(files_in(folder), folder).videos
    return sorted(filter(None, (state_of(video.path) for video in videos)))
