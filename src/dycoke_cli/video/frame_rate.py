"""Frame rate of a video stream: declared by the file, given by the user, or assumed.

Raw streams (H.264, MJPEG, …) have no time stamps. Their frames are timed by counting, so a wrong
rate makes every time of the video wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av

from dycoke_cli.video.file_names import RAW_STREAMS
from dycoke_cli.video.sampling import exact

_RAW_PICTURES = "_pipe"
# FFmpeg declares 25 for each raw stream, and the inverse of its time base for DV. The decoder has
# the rate that is stored in the frames.
_RATE_IN_FRAMES = ("h264", "hevc", "vvc", "av1", "obu", "mpegvideo", "vc1", "dirac", "dv")
# Frames have times of their own. What the decoder has is the resolution of these.
_TIMES_IN_FRAMES = "m4v"
# The clock of the standard. Encoders leave frames out, so it is the highest rate possible.
_CLOCKED = ("h263", "h261")
_ASSUMED = Fraction(25)


@dataclass(frozen=True)
class FrameRate:
    """Frames per second of a video stream."""

    usual: Fraction  # that two frames are apart; never 0
    # average that the file declares or the user has given; None if neither does
    declared: Fraction | None
    # whether frames are timed by counting, whatever time stamps FFmpeg gives them
    is_counted: bool = False
    is_assumed: bool = False  # whether times depend on a rate that nothing says
    is_ignored: bool = False  # whether a rate was given for a file that has time stamps

    def warning(self, name: str) -> str | None:
        """Sentence about a rate that is assumed or ignored; None if neither is the case."""
        if self.is_assumed:
            return (
                f"{name} doesn't say how many frames per second it has: {float(self.usual):.6g} "
                "are assumed, on which all times depend; set the true rate by --input-fps"
            )
        if self.is_ignored:
            return f"{name} has time stamps, so --input-fps has no effect on it"
        return None


def rate_of(
    container: av.container.InputContainer, stream: av.VideoStream, given: float | None
) -> FrameRate:
    """Frame rate of a stream.

    Args:
        given: rate that the user gives for a raw stream, or None.
    """
    name = container.format.name
    context = stream.codec_context
    in_frames = None if context is None else context.framerate
    average, guessed = stream.average_rate, stream.guessed_rate
    is_raw = name in RAW_STREAMS or name.endswith(_RAW_PICTURES)
    if is_raw and given is not None:
        return FrameRate(exact(given), exact(given), is_counted=True)
    ignored = given is not None
    if name in _RATE_IN_FRAMES and in_frames:
        return FrameRate(in_frames, in_frames, is_ignored=ignored)
    if name == _TIMES_IN_FRAMES and guessed:
        return FrameRate(guessed, guessed)
    if name in _CLOCKED and in_frames:
        return FrameRate(in_frames, None, is_counted=True, is_assumed=True)
    usual = average or guessed or _ASSUMED
    if is_raw:
        return FrameRate(usual, None, is_assumed=True)
    return FrameRate(usual, average, is_ignored=ignored)
