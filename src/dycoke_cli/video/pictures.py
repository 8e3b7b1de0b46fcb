"""Images as the frames of a video: those of a folder, named one by one, or computed when read.

Sampling needs only their number. Each file is decoded as a video of one frame, in the decoder
process as well. Imports neither PyAV nor NumPy.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.unicode import display_name
from dycoke_cli.video.clip import Clip, Fit, FramePlan, Frames, VideoInfo, WindowQueue
from dycoke_cli.video.files import is_folder, is_picture, is_video, open_file
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling, exact, wanted_times, window

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.subtitles import SubtitleSource


@dataclass(frozen=True)
class Rendered:
    """A rendered video. Its frames are sampled as pictures of a folder are, by `picture_fps`."""

    name: str  # for errors and warnings
    count: int  # number of frames
    # the frame of a number from 0 on, RGB uint8 [H, W, 3]. Called for the frames that are read, and
    # once more for the first of them. Picklable, since workers read videos.
    frame: Callable[[int], np.ndarray]

    def read_one(self, number: str, sampling: Sampling) -> Clip:
        """A frame as a video of one frame; the arguments are those of `PictureReader`'s reader."""
        picture = self.frame(int(number))
        height, width = picture.shape[:2]
        info = VideoInfo(
            path=self.name,
            container="rendered",
            stream=0,
            codec="none",
            width=width,
            height=height,
        )
        return Clip(picture[None], (0.0,), info, ())


Source = str | tuple[str, ...]
"""Source of a video: a path, or the paths of images that are its frames."""

_DIGITS = re.compile(r"(\d+)")
_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Pictures:
    """Images of a video, in the order of the frames."""

    name: str  # for errors and warnings, escaped for a terminal
    paths: tuple[str, ...]  # at least one


def in_order(name: str) -> list[tuple[int, int, str]]:
    """Key for natural sorting: frame9 before frame10."""
    parts = _DIGITS.split(name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts]


def as_named(videos: Sequence[str]) -> tuple[str, ...]:
    """Videos of a command line in the order of the prompt.

    The order is that of the arguments, with one exception. A shell expands `*.png` in alphabetical
    order, in which frame10 comes before frame9; images in that order are sorted naturally.
    """
    expanded = all(map(is_picture, videos)) and [*videos] == sorted(videos)
    return tuple(sorted(videos, key=in_order) if expanded else videos)


def sources(videos: tuple[str, ...]) -> tuple[Source, ...]:
    """Sources of the videos of a command line; several images are the frames of one video."""
    return (videos,) if len(videos) > 1 and all(map(is_picture, videos)) else videos


def pictures_of(source: Source | Rendered, name: str | None = None) -> Pictures | None:
    """Images of a video; None if the source is a video file or has no images.

    Args:
        name: for errors; None for the escaped path.
    """
    if isinstance(source, Rendered):
        return Pictures(name or source.name, tuple(map(str, range(source.count))))
    if not isinstance(source, str):
        return Pictures(name or f"{display_name(source[0])}, …", source)
    try:
        with os.scandir(source) as entries:
            # What can't be read, such as a link to nowhere, is reported when it is opened.
            seen = [e for e in entries if e.name[0] != "." and not is_folder(e)]
    except (OSError, ValueError):  # not a folder, or unreadable; opening it reports the cause
        return None
    from dycoke_cli.storage.made_files import MadeFiles  # late: few sources are folders

    made = MadeFiles()
    files = [one.name for one in seen if not made.is_own(one.path)]
    name = name or display_name(source)
    found = sorted(filter(is_picture, files), key=in_order)
    if not found:
        return None
    videos = sorted(filter(is_video, files), key=in_order)
    if videos:
        raise UsageError(
            f"{name} has pictures and videos ({display_name(found[0])}, {display_name(videos[0])}, "
            "…): put the pictures that are frames of one video into a folder of their own"
        )
    return Pictures(name, tuple(os.path.join(source, one) for one in found))


def digest(path: str) -> str:
    """SHA-256 of a file in hexadecimal; that of a folder is of its pictures' names and digests."""
    pictures = pictures_of(path)
    if pictures is None:
        return _digest(path)
    each = list[tuple[str, str | None]]()
    for picture in pictures.paths:
        content = None
        with suppress(VideoError):  # raised again if it is read
            content = _digest(picture)
        each.append((os.path.basename(picture), content))
    return hashlib.sha256(repr(each).encode("utf-8", "surrogateescape")).hexdigest()


def _digest(path: str) -> str:
    with open_file(path, may_be_empty=True) as opened:
        file: Any = opened  # whose type lacks a method
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            name = display_name(path)
            raise VideoError(f"{name} can't be read ({error.strerror}): check its disk") from error


def shown(sampling: Sampling, count: int) -> tuple[tuple[int, ...], str | None]:
    """Numbers of the images to read, ascending, and a warning or None.

    Image i is displayed from i to i + 1, in units of 1/`picture_fps` s. As for a video's frames,
    the nearest to each wanted time is read, each once; of two equally near ones the earlier.
    """
    fps = exact(sampling.picture_fps)
    part = window(sampling, (count - 1) / fps, count / fps, 1 / fps)
    first = math.ceil(part.first_s * fps)
    last = math.ceil(min(part.end_s * fps, count)) - 1
    if first > last:  # the part lies between two images: use the one displayed then
        return (min(int(part.first_s * fps), count - 1),), None
    if sampling.fps is None and last - first < sampling.frames:
        return tuple(range(first, last + 1)), None
    times, warning = wanted_times(sampling, part)
    # ceil(x - 1/2) rounds halves down, to the earlier of two equally near images.
    nearest = (math.ceil(time * fps - _HALF) for time in times)
    return tuple(dict.fromkeys(min(max(one, first), last) for one in nearest)), warning


class PictureReader:
    """Reader of planned images, with the interface of `decode.Reader`.

    Frames have the size of the first image, which is read for the plan. Other sizes are scaled to
    fit, with black bars if the aspect ratio differs.

    Args:
        admit: called with the bytes of the frames before they are allocated; blocks until they are
            available.
        subtitles: that were requested; images have none.

    Attributes:
        plan: frames that will be read.
    """

    def __init__(
        self,
        pictures: Pictures,
        sampling: Sampling,
        read_one: Callable[[str, Sampling], Clip],
        admit: Callable[[int], None] = lambda needed: None,
        subtitles: SubtitleSource | None = None,
    ) -> None:
        if subtitles is not None and (subtitles.path is not None or subtitles.required):
            raise UsageError(
                f"{pictures.name} has no subtitles: it is a folder of pictures; leave out "
                "--subtitles"
            )
        self._pictures, self._sampling, self._admit = pictures, sampling, admit
        one = Sampling(frames=1, stream=sampling.stream)
        self._read_one = lambda number: read_one(pictures.paths[number], one)
        count, fps = len(pictures.paths), sampling.picture_fps
        self._numbers, warning = shown(sampling, count)
        self._first = first = self._read_one(self._numbers[0])
        height, width = first.frames.shape[1:3]
        self.plan = FramePlan(
            times_s=tuple(float(number / exact(fps)) for number in self._numbers),
            width=width,
            height=height,
            info=replace(
                first.info,
                path=pictures.name,
                fps=fps,
                variable_rate=False,
                frame_count=count,
                duration_s=count / fps,
            ),
            warnings=(warning,) if warning else (),
        )

    def read(
        self,
        on_progress: Callable[[int, int], None] | None = None,
        fit: Future[Fit] | None = None,
        windows: WindowQueue | None = None,
    ) -> Clip:
        """Read the frames, once. Arguments and errors are those of `OpenClip.read`."""
        plan, count, decoded = self.plan, len(self._numbers), self._first.frames
        name, size = self._pictures.name, (plan.width, plan.height)
        frames = Frames(plan, self._sampling, fit, windows)
        # One more for the image that is copied into the frames.
        frames.admit(Limits(), self._admit, decoded.nbytes)
        warnings = dict.fromkeys(plan.warnings)
        of_pictures = dict[str, list[str]]()
        for at, number in enumerate(self._numbers):
            read = self._first if at == 0 else self._read_one(number)
            for warning in read.warnings:
                said = warning.removeprefix(read.info.path)
                of_pictures.setdefault(said, []).append(warning)
            picture: Any = read.frames[0]
            if picture.shape != decoded.shape[1:]:
                from PIL import Image, ImageOps  # late: most are of one size

                bicubic = Image.Resampling.BICUBIC
                picture = ImageOps.pad(Image.fromarray(picture), size, bicubic)
            frames.room()[:] = picture
            frames.keep(plan.times_s[at])
            if frames.waits:
                frames.hand_on()
            if on_progress is not None:
                on_progress(at + 1, count)
        # What several pictures have in common is said once, of all.
        for said, each in of_pictures.items():
            warnings[each[0] if len(each) == 1 else f"{name}{said}"] = None
        return frames.clip(tuple(warnings))
