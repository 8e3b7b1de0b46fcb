"""SMPTE time code: frames counted as hours, minutes, seconds and frames (SMPTE ST 12-1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from dycoke_cli.video.sampling import exact

# Rates that editors have. The rate of a file is an average, which is seldom exactly one of them.
_RATES = (
    *(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120)),
    *map(Fraction, (24, 25, 30, 48, 50, 60, 100, 120)),
)
_NEAR = 0.01
_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;.,])(\d{2,3})")


@dataclass(frozen=True)
class Timecode:
    """How a video's frames are counted.

    Args:
        rate: frames per second, such as 30000/1001.
        drop: whether numbers are left out, so that 29.97 frames per second show the true time:
            two at the start of each minute but every tenth (four of 59.94).
    """

    rate: Fraction
    drop: bool = False

    @classmethod
    def of(cls, fps: float | None, start: str | None) -> Timecode:
        """That of a video.

        Args:
            fps: average frames per second; None is taken for 25.
            start: time code of its first frame, which says whether numbers are left out.
        """
        near = min(_RATES, key=lambda rate: abs(rate - exact(fps or 25)))
        if abs(near / exact(fps or 25) - 1) > _NEAR:
            near = Fraction(max(1, round(fps or 25)))
        found = None if start is None else _TIMECODE.fullmatch(start)
        return cls(near, found is not None and found[4] != ":" and bool(cls(near).left_out))

    @property
    def per_second(self) -> int:
        """Frames that are counted as a second."""
        return max(1, round(self.rate))

    @property
    def left_out(self) -> int:
        """Numbers that a count with `drop` leaves out in a minute."""
        return {Fraction(30000, 1001): 2, Fraction(60000, 1001): 4}.get(self.rate, 0)

    def frame_at(self, seconds: float | Fraction) -> int:
        """Number of the frame that is nearest to a time."""
        return round((exact(seconds) if isinstance(seconds, float) else seconds) * self.rate)

    def text(self, frame: int) -> str:
        """Time code of a frame, such as 01:00:00:00, or 01:00:00;00 with `drop`."""
        if self.drop:
            minute = 60 * self.per_second - self.left_out
            tens, left = divmod(frame, 10 * minute + self.left_out)
            # The first minute of ten is longer by what the others leave out.
            frame += self.left_out * (9 * tens + max(0, left - self.left_out) // minute)
        seconds, frames = divmod(frame, self.per_second)
        hours, minutes, seconds = seconds // 3600 % 24, seconds // 60 % 60, seconds % 60
        last = ";" if self.drop else ":"
        width = len(str(self.per_second - 1))
        return f"{hours:02}:{minutes:02}:{seconds:02}{last}{frames:0{max(2, width)}}"

    def frame_of(self, text: str | None) -> int:
        """Frame of a time code; 0 for none, or one that can't be read."""
        found = None if text is None else _TIMECODE.fullmatch(text)
        if found is None:
            return 0
        hours, minutes, seconds, frames = (int(found[part]) for part in (1, 2, 3, 5))
        minutes += 60 * hours
        frame = (60 * minutes + seconds) * self.per_second + frames
        return frame - self.left_out * (minutes - minutes // 10) if self.drop else frame
