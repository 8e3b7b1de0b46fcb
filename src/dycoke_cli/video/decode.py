"""Read the wanted frames of a video: those that were planned, decoded near their times."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from dycoke_cli.errors import VideoError
from dycoke_cli.video.colour import to_rgb
from dycoke_cli.video.nearest import nearest_pictures
from dycoke_cli.video.planning import Plan, check_free_memory, picture_size, plan_of
from dycoke_cli.video.probe import Geometry, VideoInfo
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.source import Picture, VideoSource, open_video

_EVERYTHING = Sampling()


@dataclass(frozen=True)
class Clip:
    """The frames that were read.

    Attributes:
        frames: RGB as shown, uint8 [F, H, W, 3], at least one frame.
        timestamps_s: the frames' own time stamps in seconds from the video's first frame, [F],
            ascending.
        info: what is known of the video, its `duration_s` measured.
        warnings: one sentence each.
    """

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    info: VideoInfo
    warnings: tuple[str, ...]


class Reader:
    """An open video whose frames are found, and not yet read. Made by `open_clip`.

    Attributes:
        plan: which frames would be read.
    """

    def __init__(self, source: VideoSource, sampling: Sampling) -> None:
        self._source = source
        self.plan, self._geometry, self._part = plan_of(source, sampling)

    def read(self, on_progress: Callable[[int, int], None] | None = None) -> Clip:
        """Read the frames; once, and in whichever thread.

        Args:
            on_progress: as of `read`.

        Raises:
            VideoError: none of them can be decoded.
            OutOfMemoryError: there isn't enough memory for them.
            StoppedError: `stop` was called.
        """
        source, planned, geometry = self._source, self.plan, self._geometry
        check_free_memory(source.name, planned)
        width, height = geometry.shown_size
        frames = np.empty((len(planned.times_s), height, width, 3), np.uint8)
        times: list[float] = []
        changes: list[str] = []
        source.rewind()
        for picture in nearest_pictures(source, planned.times_s, self._part):
            changes = changes or _size_change(source.name, geometry, picture)
            rgb = to_rgb(picture.frame, geometry.width, geometry.height)
            frames[len(times)] = geometry.orientation.apply(rgb)
            times.append(picture.time_s)
            if on_progress is not None:
                on_progress(len(times), len(planned.times_s))
        if not times:
            raise VideoError(f"{source.name} has no picture that can be decoded in that part of it")
        warnings = (*planned.warnings, *changes, *_damage(source))
        return Clip(frames[: len(times)], tuple(times), planned.info, warnings)

    def stop(self) -> None:
        """End `read` at its next packet, wherever it runs."""
        self._source.stopped = True


@contextmanager
def open_clip(
    path: str | os.PathLike[str], sampling: Sampling = _EVERYTHING, *, shown_as: str | None = None
) -> Iterator[Reader]:
    """Open a video and find the frames that `sampling` asks for: what is wrong shows here, mostly.

    Arguments and errors are those of `read`.
    """
    with open_video(path, sampling.stream, shown_as) as source:
        yield Reader(source, sampling)


def plan(
    path: str | os.PathLike[str], sampling: Sampling = _EVERYTHING, *, shown_as: str | None = None
) -> Plan:
    """Say what `read` would read, without reading it. Arguments and errors are those of `read`."""
    with open_clip(path, sampling, shown_as=shown_as) as reader:
        return reader.plan


def read(
    path: str | os.PathLike[str],
    sampling: Sampling = _EVERYTHING,
    *,
    shown_as: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Clip:
    """Read the frames of a video that `sampling` asks for.

    Memory holds the wanted frames only, whatever the video's length.

    Args:
        path: the file.
        sampling: which frames.
        shown_as: what to call the file in errors and warnings; its escaped path if None.
        on_progress: called after each frame with the number of frames read and of those planned
            (fewer may come).

    Raises:
        VideoError: the file isn't there, isn't a video, or is too large.
        UsageError: the sampling doesn't fit the video (start beyond its end, no such stream).
        OutOfMemoryError: there isn't enough memory for the frames.
    """
    with open_clip(path, sampling, shown_as=shown_as) as reader:
        return reader.read(on_progress)


def _size_change(name: str, geometry: Geometry, picture: Picture) -> list[str]:
    stored = (picture.frame.width, picture.frame.height)
    if stored == geometry.stored_size:
        return []
    first, other = picture_size(geometry.stored_size), picture_size(stored)
    return [
        f"{name} changes its picture size from {first} to {other} at or before "
        f"{picture.time_s:.1f} s: pictures are scaled to the first size"
    ]


def _damage(source: VideoSource) -> list[str]:
    count = len(source.damaged)
    if count == 0:
        return []
    what = "1 damaged packet was" if count == 1 else f"{count} damaged packets were"
    return [f"{source.name} is damaged: {what} left out"]
