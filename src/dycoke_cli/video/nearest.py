"""The frame nearest to each wanted time, decoding as little as possible.

The decoder walks forward. Before a wide gap it seeks to the keyframe before the next wanted time;
where that turns out to lead back (keyframes are farther apart than the gap), it learns to walk
gaps of that width. So the work is bounded by one pass over the video, and is far less when the
wanted times are far apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dycoke_cli.video.sampling import Window
from dycoke_cli.video.source import Picture, VideoSource

# Not worth a seek: decoding half a second is as fast.
_SHORT_GAP_S = 0.5
# Matroska rounds time stamps to 1 ms, so the frame of 1.000 s may say 0.9995.
_ROUNDING_S = 0.001


def nearest_pictures(
    source: VideoSource, wanted: Sequence[float], part: Window
) -> Iterator[Picture]:
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
    walk = _Walk(source)
    taken: float | None = None
    shown: Picture | None = None
    for time in wanted:
        pair = [picture for picture in walk.around(time) if picture is not None]
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


class _Walk:
    """The decoder's position: the last picture before a wanted time and the first from it on."""

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self._pictures = source.pictures()
        self._before: Picture | None = None
        self._after: Picture | None = None
        self._ended = False
        self._walkable_s = _SHORT_GAP_S

    def around(self, time_s: float) -> tuple[Picture | None, Picture | None]:
        """The pictures around a time, which never decreases from call to call."""
        if self._after is not None and self._after.time_s >= time_s:
            return self._before, self._after
        keyframe = self._jump(time_s)
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

    def _jump(self, time_s: float) -> float | None:
        position = self._after.time_s if self._after else 0.0
        if self._ended or not self._source.seekable or time_s - position <= self._walkable_s:
            return None
        keyframe = self._source.seek(time_s)
        if keyframe is None:
            self._start_over()
            return None
        if keyframe <= position:
            self._walkable_s = max(self._walkable_s, time_s - keyframe)
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
            self._after = next(self._pictures, None)
            self._ended = self._after is None
