"""Frame sampling: flags, their ranges, and the times of the frames; independent of files.

The rule is the usual one (`np.linspace` from the first frame to the last, inclusive), but applied
to times instead of frame numbers. With a constant rate the two agree, and with a variable rate only
times are evenly spaced.

Times are fractions, because floats round: a wanted time halfway between two frames would be nearer
to one of them by chance.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from dycoke_cli.errors import UsageError
from dycoke_cli.param import Options, Param, check_all
from dycoke_cli.unicode import display_name

Seconds = Fraction | float
"""Time in seconds. Arithmetic is exact as long as all times are fractions."""

MAX_WANTED = 100_000
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_IN_UNITS = re.compile(
    r"(?=.)(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII
)
_SHOWN = 60


def parse_time(text: str) -> float:
    """Parse `90`, `90s`, `1m30s`, `1:30` or `00:01:30.500` to seconds.

    The first part has no upper limit (`90:00` and `90m` are an hour and a half); parts after a
    colon must be below 60.
    """
    in_units = _IN_UNITS.fullmatch(text.strip())
    match = in_units or _TIME.fullmatch(text.strip())
    if match is None:
        raise _not_a_time(text)
    try:
        hours, minutes, seconds = (Fraction(part or 0) for part in match.groups())
        time_s = float(hours * 3600 + minutes * 60 + seconds)
    except (ValueError, OverflowError) as error:  # too many digits for an integer or a float
        raise _not_a_time(text) from error
    if in_units is not None:
        return time_s
    if (match[2] is not None and seconds >= 60) or (match[1] is not None and minutes >= 60):
        raise _not_a_time(text)
    return time_s


def format_time(seconds: float) -> str:
    """Format a time so that `parse_time` reads it back, to the millisecond: `1:30`, `1:00:00.5`."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, fraction = divmod(rest, 1000)
    shown = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{shown}:{whole:02}" + (f".{fraction:03}".rstrip("0") if fraction else "")


def format_part(start_s: float, end_s: float) -> str:
    """Format a part of a video: `0:30-1:00`."""
    return f"{format_time(start_s)}-{format_time(end_s)}"


def exact(number: float) -> Fraction:
    """The decimal number that a float stands for: 3/10 for 0.3, which binary can't hold."""
    return Fraction(str(float(number)))


def _not_a_time(text: str) -> UsageError:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return UsageError(
        f'"{display_name(shown)}" isn\'t a time: write seconds (90 or 90.5), '
        "1m30s or HH:MM:SS.mmm (1:30 or 00:01:30.500)"
    )


@dataclass(frozen=True)
class Sampling(Options):
    """Options of frame sampling.

    Attributes:
        frames: excludes `fps`.
        start_s: seconds from the video's first frame.
        end_s: seconds from the video's first frame, exclusive.

    Raises:
        UsageError: a value is out of range.
    """

    frames: Annotated[int, Param("Number of frames, evenly spaced over the video.", at_least=1)] = (
        32
    )
    fps: Annotated[
        float | None, Param("Frames per second, in place of parameter frames.", above=0, default="")
    ] = None
    max_frames: Annotated[
        int | None,
        Param(
            "With parameter fps: maximum number of frames; longer videos are sampled at fewer "
            "frames per second.",
            at_least=1,
            default="no limit",
        ),
    ] = None
    start_s: Annotated[
        float | None,
        Param(
            "Start time: seconds or HH:MM:SS.mmm.",
            at_least=0,
            default="",
            flag="start",
            metavar="TIME",
            read=parse_time,
        ),
    ] = None
    end_s: Annotated[
        float | None,
        Param(
            "End time: seconds or HH:MM:SS.mmm.",
            at_least=0,
            default="",
            flag="end",
            metavar="TIME",
            read=parse_time,
        ),
    ] = None
    picture_fps: Annotated[
        float,
        Param("Frames per second of a folder of pictures.", above=0, before=1.0),
    ] = 1.0
    stream: Annotated[
        int | None,
        Param(
            "Index of the video stream in its container, as `dycoke probe` lists them.",
            at_least=0,
            default="the best",
        ),
    ] = None

    def __post_init__(self) -> None:
        check_all(self)
        for name in ("frames", "fps", "max_frames", "picture_fps"):
            value = getattr(self, name)
            if value is not None and value > MAX_WANTED:
                raise UsageError(f"{name} must be {MAX_WANTED:,} or fewer, not {value:,}")
        if self.fps is not None and self.frames != Sampling.frames:
            raise UsageError("frames and fps exclude each other; use one of them")
        if self.max_frames is not None and self.fps is None:
            raise UsageError(
                "max_frames limits parameter fps: give both, or parameter frames alone"
            )
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise UsageError(
                f"end_s must be later than start_s ({self.start_s or 0:g} s), not {self.end_s:g} s"
            )

    def part_s(self, duration_s: float | None) -> tuple[float, float] | None:
        """Start and end of the sampled part in seconds; None for the whole video.

        Args:
            duration_s: length of the video.
        """
        if self.start_s is None and self.end_s is None:
            return None
        ends = [end for end in (self.end_s, duration_s) if end is not None]
        return None if not ends else (self.start_s or 0.0, min(ends))


@dataclass(frozen=True)
class Window:
    """Sampled part of a video, in seconds from its first frame."""

    first_s: Seconds  # first wanted time
    last_s: Seconds  # last wanted time: about the time of the last frame before `end_s`
    end_s: Seconds  # end of the part, exclusive


def window(sampling: Sampling, last_s: Seconds, end_s: Seconds, interval_s: Seconds) -> Window:
    """Part of a video between `--start` and `--end`.

    Args:
        last_s: time of the video's last frame, in seconds from its first.
        interval_s: usual time between two frames; 0 if unknown.
    """
    first = exact(sampling.start_s or 0.0)
    end = None if sampling.end_s is None else exact(sampling.end_s)
    if first > last_s and first >= end_s:
        clock = f" ({format_time(float(first))})" if first >= 60 else ""
        raise UsageError(
            f"--start {float(first):g} s{clock} lies beyond the end of the video, which is "
            f"{float(end_s):.1f} s long"
        )
    if end is None or end >= end_s:
        # The end is exclusive, so it must be after the last frame even if that has no duration.
        return Window(first, max(first, last_s), max(end_s, math.nextafter(last_s, math.inf)))
    # The last frame before an exclusive end is about one interval earlier. Example: at 25 fps and
    # --end 2, wanted times run to 1.96 s.
    return Window(first, max(first, min(last_s, end - interval_s)), end)


def wanted_times(sampling: Sampling, part: Window) -> tuple[tuple[Seconds, ...], str | None]:
    """Wanted times of the frames in a part of a video.

    With `frames`: that many, evenly spaced from the first frame to the last, inclusive; a single
    one is in the middle, because first frames are often black. With `fps`: every 1/fps s from the
    start; if these are more than `max_frames`, `max_frames` evenly spaced ones.

    Returns:
        Times in seconds from the video's first frame, ascending, and a warning or None.
    """
    if sampling.fps is None:
        return evenly_spaced(part, sampling.frames), None
    count = steps(sampling.fps, part)
    if sampling.max_frames is not None and count > sampling.max_frames:
        return evenly_spaced(part, sampling.max_frames), thinned(sampling, count)
    if count > MAX_WANTED:
        raise UsageError(
            f"--fps {sampling.fps:g} would take {count:,} frames, the limit is {MAX_WANTED:,}: "
            "lower it or set --max-frames"
        )
    rate = exact(sampling.fps)
    return tuple(part.first_s + step / rate for step in range(count)), None


def steps(fps: float, part: Window) -> int:
    """Number of wanted times at a rate."""
    # Without the tolerance, rounding could add a frame: 2.0000001 s at 2 fps would give 5, not 4.
    return max(1, math.ceil((part.end_s - part.first_s) * fps - 1e-6))


def thinned(sampling: Sampling, count: int) -> str:
    """Warning that a rate would take more frames than `max_frames`."""
    return (
        f"--fps {sampling.fps:g} would take {count:,} frames: the {sampling.max_frames} that "
        "--max-frames allows are spread evenly instead"
    )


def evenly_spaced(part: Window, count: int) -> tuple[Seconds, ...]:
    """That many times from the first to the last of a part; a single one is in the middle."""
    length = part.last_s - part.first_s
    if count == 1:
        return (part.first_s + length / 2,)
    return tuple(part.first_s + length * step / (count - 1) for step in range(count))
