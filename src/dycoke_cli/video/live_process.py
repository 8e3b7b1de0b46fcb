"""The process that decodes a live source: its frames, once each, and the windows that it sends.

It reads a pipe, and is sealed before the first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from fractions import Fraction
from io import FileIO
from itertools import chain
from math import inf
from typing import Any, cast

import av
import numpy as np

from dycoke_cli.errors import VideoError
from dycoke_cli.processes.isolated import Channel
from dycoke_cli.processes.sandbox import seal
from dycoke_cli.video import limits
from dycoke_cli.video.clip import FramePlan
from dycoke_cli.video.color import Geometry
from dycoke_cli.video.containers import open_descriptor
from dycoke_cli.video.decoder_process import (
    Seeker,
    continues,
    damage,
    errors_sent,
    nearest_frames,
    prepare,
    rgb,
)
from dycoke_cli.video.planning import describe
from dycoke_cli.video.sampling import Sampling, Window, exact, wanted_times, window
from dycoke_cli.video.source import Picture, VideoSource

# Steps back of time stamps up to this are left alone: some cameras have such jitter.
_JITTER_S = 1
_UNREADABLE = (
    "can't be read while it comes, or is empty: write MPEG-TS (`ffmpeg -i SOURCE -c copy -f mpegts "
    "-`), Matroska or fragmented MP4; `dycoke ask --every` reads a finished file"
)


class LiveSource(VideoSource):
    """Open live video stream.

    Args:
        stream: index of the stream; None for the best.

    Attributes:
        position: position of the last packet in the pipe, in bytes; 0 where it isn't known.
    """

    # With a frame a thread, the decoder would hold back the newest frames.
    _delays_frames = False

    def __init__(
        self,
        pipe: FileIO,
        stream: int | None,
        name: str,
    ) -> None:
        self._pipe, self.position = pipe, 0
        self._decoded: Iterator[Picture] = iter(())
        super().__init__(cast("Any", pipe), stream, name)

    def _begin(self) -> None:
        try:
            self.container = open_descriptor(self._pipe.fileno(), limits.MAX_PICTURE_PIXELS)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{self.name} {_UNREADABLE}") from error

    def demux(self, *streams: av.stream.Stream) -> Iterator[av.Packet]:
        """See `VideoSource`."""
        for packet in super().demux(*streams):
            self.position = max(self.position, packet.pos or 0)
            yield packet

    def first_picture(self) -> Picture:
        """See `VideoSource`; `pictures` begins with this frame as well."""
        self._decoded = super().pictures()
        first = next(self._decoded, None)
        if first is None or self._last is None:
            raise VideoError(f"{self.name} {_UNREADABLE}")
        self.origin, self._last = self._last, Fraction(0)
        first = replace(first, time_s=Fraction(0))
        self._decoded = chain((first,), self._decoded)
        return first

    @property
    def ending(self) -> str | None:
        """Why the packets ended before their time; None where they didn't, or nobody here knows."""
        if self.failure is None:
            return None
        return getattr(self.failure, "strerror", None) or type(self.failure).__name__

    def pictures(self) -> Iterator[Picture]:
        """Decoded frames, each once. Where time stamps begin again, the clock goes on."""
        last, shift = Fraction(0), Fraction(0)
        for picture in self._decoded:
            time = picture.time_s + shift
            if time < last - _JITTER_S:
                shift += last + self.interval - time
                time = last + self.interval
            last = max(last, time)
            yield replace(picture, time_s=time)


def serve(channel: Channel) -> None:
    """Decode a source until it ends, or the other end of the channel is closed."""
    prepare()
    channel.send({"sealed": seal()})
    request, files = channel.receive()
    with errors_sent(channel, request["name"]), ExitStack() as stack:
        _serve(channel, request, stack.enter_context(FileIO(files[0])), stack)


def _serve(channel: Channel, request: dict[str, Any], pipe: FileIO, stack: ExitStack) -> None:
    sampling = Sampling(**request["sampling"])
    source = LiveSource(pipe, sampling.stream, request["name"])
    stack.enter_context(closing(source))
    channel.send({"needs": source.decoding_bytes, "size": source.stored_size})
    if not continues(channel):
        return
    info, geometry = describe(source)
    every = exact(cast(float, sampling.end_s))
    times = tuple(map(float, wanted_times(sampling, _part(source, sampling, Fraction(0)))[0]))
    width, height = geometry.shown_size
    plan = FramePlan(times, width, height, info, (), len(times) * width * height * 3)
    channel.send({"plan": asdict(plan)}, most_bytes=limits.MAX_PLAN_BYTES)
    if continues(channel):
        _send_windows(channel, source, geometry, sampling, every)


def _send_windows(
    channel: Channel, source: LiveSource, geometry: Geometry, sampling: Sampling, every: Fraction
) -> None:
    """Send the frames of each window, then its times; windows without frames are skipped."""
    seeker = Seeker(source)
    begin = Fraction(0)
    while (after := seeker.around(begin)[1]) is not None:
        begin += (after.time_s - begin) // every * every
        part = _part(source, sampling, begin)
        last = begin
        for found in nearest_frames(seeker, wanted_times(sampling, part)[0], part):
            picture = rgb(source, found, geometry)
            channel.send({"time_s": float(found.time_s)}, np.ascontiguousarray(picture))
            last = found.time_s
        end = begin + every
        if seeker.ended:
            end = min(end, last + source.interval)
        times = [float(begin), float(end)]
        position, warnings = source.position, damage(source)
        channel.send({"window": times, "position": position, "warnings": warnings})
        source.damaged.clear()
        begin += every
    channel.send({"ended": source.ending})


def _part(source: LiveSource, sampling: Sampling, begin: Fraction) -> Window:
    """Part of the video that a window is, as `--start` and `--end` would name it."""
    end = begin + exact(cast(float, sampling.end_s))
    named = replace(sampling, start_s=float(begin), end_s=float(end))
    return window(named, inf, inf, source.interval)
