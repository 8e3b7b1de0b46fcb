"""Decode the planned frames of a video: the nearest to each wanted time, with as few as possible.

Decoding runs forward. Before a wide gap it seeks to the keyframe before the next wanted time; where
that keyframe lies before the current position (the GOP is longer than the gap), gaps of that width
are decoded through from then on. So the work is bounded by one pass over the video, and is far less
when the wanted times are far apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.unicode import display_name
from dycoke_cli.video import limits
from dycoke_cli.video.audio import read_audio
from dycoke_cli.video.clip import Audio, Clip, Plan
from dycoke_cli.video.color import Geometry, shrunk, to_rgb
from dycoke_cli.video.limits import Limits, picture_size
from dycoke_cli.video.open_file import open_file
from dycoke_cli.video.pictures import PictureReader, pictures_of
from dycoke_cli.video.planning import plan_of
from dycoke_cli.video.sampling import Sampling, Window
from dycoke_cli.video.source import Picture, VideoSource, video_in
from dycoke_cli.video.subtitles import (
    Subtitles,
    SubtitleSource,
    open_subtitles,
    parse_subtitles,
    read_stream,
    text_stream,
)

_SAMPLING = Sampling()
# Not worth a seek: decoding half a second is as fast.
_SHORT_GAP_S = 0.5
# Matroska rounds time stamps to 1 ms, so the frame of 1.000 s may say 0.9995.
_ROUNDING_S = 0.001


class Reader:
    """An open video whose frames are found, and not yet read. Made by `open_clip`.

    Args:
        source: an open video.
        sampling: which frames.
        subtitles: that come with them, or None for none.
        subtitle_file: the open file of `subtitles`, if they are in one.

    Attributes:
        plan: which frames would be read.
    """

    def __init__(
        self,
        source: VideoSource,
        sampling: Sampling,
        subtitles: SubtitleSource | None = None,
        subtitle_file: BinaryIO | None = None,
    ) -> None:
        self._source = source
        self.plan, self._geometry, self._part = plan_of(source, sampling)
        self._sampling = sampling
        self._subtitles: Subtitles | int | None = None
        self._without: tuple[str, ...] = ()
        if subtitle_file is not None and subtitles is not None:
            self._subtitles = parse_subtitles(subtitle_file, display_name(subtitles.path or ""))
        elif subtitles is not None:
            self._find_stream(subtitles)

    def _find_stream(self, subtitles: SubtitleSource) -> None:
        """Find the stream of subtitles, whose lines come with the frames."""
        found = text_stream(self._source)
        if isinstance(found, int):
            self._subtitles = found
        elif subtitles.required:
            raise UsageError(f"{found}; leave out --subtitles")
        else:
            self._without = (f"{found}; answered without them",)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Read the frames, once; each with its time. `rest` is known when all are read.

        Raises:
            VideoError: none of them can be decoded.
        """
        source, geometry = self._source, self._geometry
        self._times = list[float]()
        self._changes = list[str]()
        source.rewind()
        for picture in nearest_frames(source, self.plan.times_s, self._part):
            self._changes = self._changes or _size_change(source.name, geometry, picture)
            rgb = to_rgb(picture.frame, geometry.width, geometry.height)
            self._times.append(picture.time_s)
            yield picture.time_s, geometry.orientation.apply(rgb)
        if not self._times:
            raise VideoError(f"{source.name} has no picture that can be decoded in that part of it")

    def rest(self) -> tuple[tuple[str, ...], Subtitles | None]:
        """The warnings, and the subtitles that are shown at the frames that were read.

        Raises:
            UsageError: the stream of subtitles has no line.
        """
        found = self._subtitles
        if isinstance(found, int):
            found = read_stream(self._source, found, self._times[-1])
        lines = None if found is None else found.at(self._times)
        of_lines = self._without if lines is None else lines.warnings
        return (*self.plan.warnings, *self._changes, *_damage(self._source), *of_lines), lines

    def audio(self) -> Audio | None:
        """The audio, where the sampling has a rate for it; read behind the frames.

        Raises:
            UsageError: there must be some, and there is none.
        """
        rate, source = self._sampling.audio_rate, self._source
        if rate is None:
            return None
        samples = read_audio(source, rate, self._part)
        if samples is None and self._sampling.audio:
            raise UsageError(f"{source.name} has no audio in that part of it; leave out --audio")
        return None if samples is None else Audio(samples, rate)

    def read(self, on_progress: Callable[[int, int], None] | None = None) -> Clip:
        """Read the frames, once. Arguments and errors are those of `read`."""
        plan = self.plan
        count = len(plan.times_s)
        size = (plan.info.width, plan.info.height)
        Limits().check_memory(self._source.name, size, plan.memory_bytes, count)
        frames = np.empty((count, plan.height, plan.width, 3), np.uint8)
        times: list[float] = []
        for time, frame in self.frames():
            frames[len(times)] = frame
            times.append(time)
            if on_progress is not None:
                on_progress(len(times), count)
        return Clip(frames[: len(times)], tuple(times), plan.info, *self.rest(), self.audio())


@contextmanager
def open_clip(
    path: str | os.PathLike[str] | tuple[str, ...],
    sampling: Sampling = _SAMPLING,
    *,
    shown_as: str | None = None,
    subtitles: SubtitleSource | None = None,
) -> Iterator[Reader | PictureReader]:
    """Open a video and find the frames that `sampling` asks for: what is wrong shows here, mostly.

    Arguments and errors are those of `read`.
    """
    pictures = pictures_of(path if isinstance(path, tuple) else os.fspath(path), shown_as)
    if pictures is not None:
        yield PictureReader(pictures, sampling, read, subtitles=subtitles)
        return
    assert not isinstance(path, tuple), "several paths are pictures"
    name = shown_as or display_name(path)
    with ExitStack() as stack:
        files = [stack.enter_context(open_file(path, name))]
        if subtitles is not None and subtitles.path is not None:
            files.append(stack.enter_context(open_subtitles(subtitles.path)))
        source = stack.enter_context(video_in(files[0], sampling.stream, name))
        Limits().check_memory(name, source.stored_size, source.decoding_bytes)
        yield Reader(source, sampling, subtitles, *files[1:])


def plan(
    path: str | os.PathLike[str] | tuple[str, ...],
    sampling: Sampling = _SAMPLING,
    *,
    shown_as: str | None = None,
) -> Plan:
    """Say what `read` would read, without reading it. Arguments and errors are those of `read`."""
    with open_clip(path, sampling, shown_as=shown_as) as reader:
        return reader.plan


def read(
    path: str | os.PathLike[str] | tuple[str, ...],
    sampling: Sampling = _SAMPLING,
    *,
    shown_as: str | None = None,
    subtitles: SubtitleSource | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Clip:
    """Read the frames of a video that `sampling` asks for, in this process.

    Commands read in a process of its own (`decoder.Decoder`), for files of strangers.

    Args:
        path: of a file, of a folder of pictures, or those of pictures, which are its frames.
        sampling: which frames.
        shown_as: what to call the file in errors and warnings; its escaped path if None.
        subtitles: where those are that come with the frames, as `find_source` finds them; None
            for none.
        on_progress: called after each frame with the number of frames read and of those planned
            (fewer may come).

    Raises:
        VideoError: the file isn't there, isn't a video, or is too large.
        UsageError: the sampling doesn't fit the video (start beyond its end, no such stream), or
            the subtitles can't be read.
        OutOfMemoryError: there isn't enough memory for the frames.
    """
    with open_clip(path, sampling, shown_as=shown_as, subtitles=subtitles) as reader:
        return reader.read(on_progress)


def nearest_frames(source: VideoSource, wanted: Sequence[float], part: Window) -> Iterator[Picture]:
    """Find the frame nearest to each wanted time, the earlier of two equally near.

    Only frames of the part count; if there are none (it lies between two frames), the one shown
    at its start is given.

    Args:
        source: an open, described video, at its beginning.
        wanted: times in seconds from the first frame, ascending.
        part: the part of the video that is sampled.

    Yields:
        pictures in ascending order of time, none twice: where frames are fewer than wanted times,
        one serves for several.
    """
    seeker = _Seeker(source)
    taken: float | None = None
    shown: Picture | None = None
    for time in wanted:
        pair = [picture for picture in seeker.around(time) if picture is not None]
        shown = shown or (pair[0] if pair else None)
        inside = [p for p in pair if part.first_s - _ROUNDING_S <= p.time_s < part.end_s]
        if not inside:
            continue
        best = min(inside, key=lambda picture: abs(picture.time_s - time))
        if taken is None or best.time_s > taken:
            taken = best.time_s
            yield best
    if taken is None and shown is not None:
        yield shown


class _Seeker:
    """Seeks and decodes up to the two frames around a wanted time."""

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self._pictures = source.pictures()
        self._before: Picture | None = None
        self._after: Picture | None = None
        self._ended = False
        self._decode_through_s = _SHORT_GAP_S

    def around(self, time_s: float) -> tuple[Picture | None, Picture | None]:
        """The pictures around a time, which never decreases from call to call."""
        if self._after is not None and self._after.time_s >= time_s:
            return self._before, self._after
        keyframe = self._seek(time_s)
        self._advance(time_s)
        # The last pictures of a file may be beyond repair: then those before them are nearest.
        while keyframe and self._before is None and self._after is None:
            earlier = self._source.seek(keyframe - float(self._source.interval) / 2)
            if earlier is None or earlier >= keyframe:
                self._start_over()
                keyframe = None
            else:
                self._go_on_here()
                keyframe = earlier
            self._advance(time_s)
        return self._before, self._after

    def _seek(self, time_s: float) -> float | None:
        position = self._after.time_s if self._after else 0.0
        if self._ended or not self._source.seekable or time_s - position <= self._decode_through_s:
            return None
        keyframe = self._source.seek(time_s)
        if keyframe is None:
            self._start_over()
            return None
        if keyframe <= position:
            self._decode_through_s = max(self._decode_through_s, time_s - keyframe)
        self._go_on_here()
        return keyframe

    def _start_over(self) -> None:
        self._source.seekable = False
        self._source.rewind()
        self._go_on_here()

    def _go_on_here(self) -> None:
        self._pictures = self._source.pictures()
        self._before = self._after = None
        self._ended = False

    def _advance(self, time_s: float) -> None:
        while not self._ended and (self._after is None or self._after.time_s < time_s):
            self._before = self._after or self._before
            self._after = None  # nobody holds a third one while the next is decoded
            self._after = _scaled(next(self._pictures, None))
            self._ended = self._after is None


def _scaled(picture: Picture | None) -> Picture | None:
    """A picture, scaled down as soon as it is there if it is huge: a few of those fill memory.

    Up to 8K only those that are chosen are scaled, for that takes longer than to decode them.
    """
    if picture is None or picture.size[0] * picture.size[1] <= limits.MAX_HELD_PIXELS:
        return picture
    return replace(picture, frame=shrunk(picture.frame, limits.MAX_KEPT_PIXELS))


def _size_change(name: str, geometry: Geometry, picture: Picture) -> list[str]:
    if picture.size == geometry.stored_size:
        return []
    first, other = picture_size(geometry.stored_size), picture_size(picture.size)
    return [
        f"{name} changes its picture size from {first} to {other} at or before "
        f"{picture.time_s:.1f} s: pictures are scaled to the first size"
    ]


def _damage(source: VideoSource) -> list[str]:
    count = len(source.damaged)
    if count == 0:
        return []
    what = "1 damaged packet was" if count == 1 else f"{count} damaged packets were"
    return [f"{source.name} is damaged: {what} skipped"]
