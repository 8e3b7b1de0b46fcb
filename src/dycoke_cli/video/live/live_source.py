"""Video stream of a source without an end: its frames are decoded once, as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from io import FileIO
from itertools import chain
from typing import Any, cast

import av

from dycoke_cli.errors import VideoError
from dycoke_cli.video import limits
from dycoke_cli.video.containers import open_descriptor, tag_options
from dycoke_cli.video.source import Picture, VideoSource

# Steps back of time stamps up to this are left alone: some cameras have such jitter.
_JITTER_S = 1
_UNREADABLE = (
    "can't be read while it comes: record MPEG-TS (`ffmpeg -i SOURCE -c copy recording.ts`), "
    "Matroska or fragmented MP4; `dycoke ask --every` reads a finished file"
)


def reason_of(error: Exception) -> str:
    """What an error of FFmpeg says, without the address, which may have a password in it."""
    return getattr(error, "strerror", None) or type(error).__name__


@dataclass(frozen=True)
class Opening:
    """How FFmpeg opens a source itself, in place of reading a pipe."""

    address: str  # URL, or path of a device
    format: str  # FFmpeg's name of the format
    options: dict[str, str]  # of FFmpeg


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
        source: FileIO | Opening,
        stream: int | None,
        name: str,
        raw_rate: float | None = None,
        *,
        on_packet: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._on_packet = source, on_packet
        self.position = 0
        self._decoded: Iterator[Picture] = iter(())
        super().__init__(cast("Any", source), stream, name, raw_rate)
        self.seekable = False

    def _begin(self) -> None:
        source, pixels = self._source, limits.MAX_PICTURE_PIXELS
        try:
            if isinstance(source, FileIO):
                self.container = open_descriptor(source.fileno(), pixels)
                return
            options = {**source.options, "max_pixels": str(pixels)}
            self.container = cast(
                "av.container.InputContainer",
                av.open(source.address, format=source.format, options=options, **tag_options()),
            )
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            if isinstance(source, FileIO):
                raise VideoError(f"{self.name} {_UNREADABLE}") from error
            raise VideoError(
                f"{self.name} can't be opened ({reason_of(error)}): check its name, and that it is "
                "on"
            ) from error

    def demux(self, *streams: av.stream.Stream) -> Iterator[av.Packet]:
        """See `VideoSource`."""
        for packet in super().demux(*streams):
            self.position = max(self.position, packet.pos or 0)
            self._on_packet()
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
        if self.failure is not None:
            return reason_of(self.failure)
        # FFmpeg takes a connection that is closed for the end; a camera declares none.
        is_cut = isinstance(self._source, Opening) and self.container.duration is None
        return "the connection was closed" if is_cut else None

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
