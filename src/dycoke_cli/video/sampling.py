"""Which moments of a video are wanted: the flags, their ranges, and the rule that spreads them.

Knows times only, nothing of files. The rule is the field's own (`np.linspace` from the first frame
to the last, both included), applied to time instead of to frame numbers: with a constant rate the
two agree, and with a variable rate only time is meaningful.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from dycoke_cli.errors import UsageError
from dycoke_cli.video.files import display_name

MAX_WANTED = 100_000
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_SHOWN = 60


@dataclass(frozen=True)
class Sampling:
    """Which frames to take from a video.

    Attributes:
        frames: how many, spread evenly from the first to the last; not used when `fps` is given.
        fps: frames per second of video instead.
        max_frames: the most that `fps` may take; beyond it, this many are spread evenly.
        start_s: where to begin, in seconds from the video's first frame.
        end_s: where to stop (not included), in seconds from the video's first frame.
        stream: index of the video stream in its container, as `probe` lists it; None is the best.

    Raises:
        UsageError: a value is out of range; the sentence names the flag and the range.
    """

    frames: int = 32
    fps: float | None = None
    max_frames: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    stream: int | None = None

    def __post_init__(self) -> None:
        _check_count("--frames", self.frames)
        if self.fps is not None and not (self.fps > 0 and math.isfinite(self.fps)):
            raise UsageError(f"--fps must be above 0, not {self.fps:g}")
        if self.fps is not None and self.fps > MAX_WANTED:
            raise UsageError(f"--fps must be {MAX_WANTED} or fewer, not {self.fps:g}")
        if self.max_frames is not None:
            _check_count("--max-frames", self.max_frames)
            if self.fps is None:
                raise UsageError("--max-frames limits --fps: give --fps too, or use --frames alone")
        for flag, value in (("--start", self.start_s), ("--end", self.end_s)):
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"{flag} must be 0 s or later, not {value:g} s")
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise UsageError(
                f"--end must be later than --start ({self.start_s or 0:g} s), not {self.end_s:g} s"
            )
        if self.stream is not None and self.stream < 0:
            raise UsageError(f"--stream must be 0 or more, not {self.stream}")


@dataclass(frozen=True)
class Window:
    """The part of a video that is sampled, in seconds from its first frame.

    Attributes:
        first_s: where the first wanted moment lies.
        last_s: where the last one lies: the time of the last frame before `end_s`.
        end_s: end of the part; frames at or behind it don't belong to it.
    """

    first_s: float
    last_s: float
    end_s: float


def window(sampling: Sampling, last_s: float, end_s: float, interval_s: float) -> Window:
    """Cut `--start` and `--end` out of a video.

    Args:
        sampling: its start and end.
        last_s: time of the video's last frame, in seconds from its first.
        end_s: time at which the last frame ends; later than `last_s`.
        interval_s: usual time between two frames, 0 where it isn't known.

    Raises:
        UsageError: the start lies beyond the end of the video.
    """
    first = sampling.start_s or 0.0
    if first > last_s and first >= end_s:
        raise UsageError(
            f"--start {first:g} s lies beyond the end of the video, which is {end_s:.1f} s long"
        )
    if sampling.end_s is None or sampling.end_s >= end_s:
        return Window(first, max(first, last_s), max(end_s, math.nextafter(last_s, math.inf)))
    return Window(first, max(first, min(last_s, sampling.end_s - interval_s)), sampling.end_s)


def wanted_times(sampling: Sampling, part: Window) -> tuple[tuple[float, ...], str | None]:
    """Moments to take from a part of a video.

    With `frames`: that many from the first frame to the last, evenly, both included; a single one
    from the middle, which says more of a video than its first picture (often black). With `fps`:
    every 1/fps s from the start, and when that is more than `max_frames`, `max_frames` evenly.

    Returns:
        the times, ascending, in seconds from the video's first frame, and a warning or None.

    Raises:
        UsageError: `fps` would take more than `MAX_WANTED` frames.
    """
    if sampling.fps is None:
        return _spread(part, sampling.frames), None
    # A hair less than a whole step doesn't make another one: 2 s at 2 fps are 4 frames, not 5.
    count = max(1, math.ceil((part.end_s - part.first_s) * sampling.fps - 1e-6))
    if sampling.max_frames is not None and count > sampling.max_frames:
        return _spread(part, sampling.max_frames), (
            f"--fps {sampling.fps:g} would take {count} frames: the {sampling.max_frames} that "
            "--max-frames allows are spread evenly instead"
        )
    if count > MAX_WANTED:
        raise UsageError(
            f"--fps {sampling.fps:g} would take {count} frames, the limit is {MAX_WANTED}: "
            "lower it or set --max-frames"
        )
    return tuple(part.first_s + step / sampling.fps for step in range(count)), None


def parse_time(text: str) -> float:
    """Turn `90`, `1:30` or `00:01:30.500` into seconds.

    The part in front may be as large as it likes (`90:00` is an hour and a half); those behind a
    colon stay below 60.

    Raises:
        UsageError: the text isn't such a time.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise _not_a_time(text)
    hours, minutes, seconds = match.groups()
    if minutes is not None and float(seconds) >= 60:
        raise _not_a_time(text)
    if hours is not None and float(minutes) >= 60:
        raise _not_a_time(text)
    # Numbers of any length become a float, if only inf; not so an int.
    time_s = float(hours or 0) * 3600 + float(minutes or 0) * 60 + float(seconds)
    if not math.isfinite(time_s):
        raise _not_a_time(text)
    return time_s


def _spread(part: Window, count: int) -> tuple[float, ...]:
    length = part.last_s - part.first_s
    if count == 1:
        return (part.first_s + length / 2,)
    return tuple(part.first_s + length * step / (count - 1) for step in range(count))


def _check_count(flag: str, count: int) -> None:
    if count < 1:
        raise UsageError(f"{flag} must be 1 or more, not {count}")
    if count > MAX_WANTED:
        raise UsageError(f"{flag} must be {MAX_WANTED} or fewer, not {count}")


def _not_a_time(text: str) -> UsageError:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return UsageError(
        f'"{display_name(shown)}" isn\'t a time: write seconds (90 or 90.5) '
        "or HH:MM:SS.mmm (1:30 or 00:01:30.500)"
    )
