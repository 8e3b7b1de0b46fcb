"""Frames in the form that is sent to a server: JPEGs and their times."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.answer import ReportedFrames

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.subtitles import Subtitles

_QUALITY = 95
_CLOCK = 1000
"""Frame indices per second: they are milliseconds."""


@dataclass(frozen=True)
class SentVideo:
    """Frames in the form that is sent."""

    parts: tuple[dict[str, Any], ...]  # parts of a chat message
    about: dict[str, Any] | None  # times of the frames, for `media_io_kwargs`; None for pictures
    frames: ReportedFrames  # of the answer
    part_s: tuple[float, float] | None = None  # what was read; None where it is the whole
    # lines that are shown at a frame, before the first question; None for none
    subtitles: Subtitles | None = None
    warnings: tuple[str, ...] = ()  # about the video
    seconds: float = 0.0  # decoding time


NO_VIDEO = SentVideo((), None, ReportedFrames(0, ()))


def as_video(
    frames: np.ndarray,
    times_s: Sequence[float],
    duration_s: float | None = None,
) -> SentVideo:
    """The frames as one part of a message, in vLLM's form.

    Args:
        frames: RGB, uint8 `[F, H, W, 3]`.
        duration_s: of the whole video; None if unknown.
    """
    url = f"data:video/jpeg;base64,{','.join(_jpegs(frames))}"
    part = {"type": "video_url", "video_url": {"url": url}}
    return SentVideo(
        (part,), _about(times_s, duration_s), ReportedFrames(len(frames), tuple(times_s))
    )


def as_images(
    frames: np.ndarray,
    times_s: Sequence[float],
    duration_s: float | None = None,
) -> SentVideo:
    """A part per frame, for servers that take no videos and no times; see `as_video`."""
    urls = (f"data:image/jpeg;base64,{picture}" for picture in _jpegs(frames))
    parts = ({"type": "image_url", "image_url": {"url": url}} for url in urls)
    return SentVideo(tuple(parts), None, ReportedFrames(len(frames), tuple(times_s)))


def _about(times_s: Sequence[float], duration_s: float | None) -> dict[str, Any]:
    """Times of the frames in vLLM's form, as frames of a video with a frame per millisecond.

    A server computes `index / fps`, so that late and unevenly spaced frames keep their times.
    """
    indices = [round(time_s * _CLOCK) for time_s in times_s]
    total = max(round((duration_s or 0) * _CLOCK), indices[-1] + 1, len(indices))
    return {
        "num_frames": -1, "do_sample_frames": False, "fps": float(_CLOCK),
        "total_num_frames": total, "duration": total / _CLOCK, "frames_indices": indices,
    }  # fmt: skip


def _jpegs(frames: np.ndarray) -> list[str]:
    """JPEGs of frames in base64."""
    from PIL import Image

    pictures = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=_QUALITY, subsampling=0)
        pictures.append(base64.b64encode(file.getvalue()).decode("ascii"))
    return pictures
