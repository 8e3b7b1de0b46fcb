"""Encoding of scripts as video files with PyAV, in the variants that real files have."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import Script

TICKS = 90_000


@dataclass(frozen=True)
class Recording:
    """Encoding options of a clip; the suffix selects the codec (.webm: VP9, otherwise H.264)."""

    fps: int = 8  # frames per second
    side: int = 128  # width and height in pixels
    # clockwise rotation of the stored pixels in degrees (0, 90, 180 or 270), undone by a display
    # matrix
    turned: int = 0
    uneven: bool = False  # variable frame rate, four times as high in the middle third


def write_clip(script: Script, how: Recording, path: Path) -> None:
    """Render and encode a script; the output is deterministic."""
    times = frame_seconds(script.seconds, how)
    webm = path.suffix == ".webm"
    # One thread, so that the same script gives the same bytes on every machine.
    options: dict[str, object] = {"crf": str(script.camera.quality), "threads": "1"}
    options |= {"b": "0", "cpu-used": "4"} if webm else {"preset": "veryfast"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9" if webm else "libx264", rate=how.fps)
        stream.width = stream.height = how.side
        stream.pix_fmt = "yuv420p"
        stream.options = options
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        if how.turned:
            stream.set_display_rotation(how.turned)
        for i, second in enumerate(times):
            # Frame by frame, so that a long clip takes no more memory than a short one.
            picture = render(script, np.array([second / script.seconds]), how.side)[0]
            picture = np.rot90(picture, k=-how.turned // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = round(second * TICKS)
            frame.time_base = Fraction(1, TICKS)
            # From rounded ends, so that durations add up to the length of the clip.
            following = times[i + 1] if i + 1 < len(times) else script.seconds
            frame.duration = round(following * TICKS) - frame.pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frame_seconds(seconds: float, how: Recording) -> list[float]:
    """Presentation time of each frame, from 0."""
    if not how.uneven:
        return [i / how.fps for i in range(round(seconds * how.fps))]
    times, now = [], 0.0
    while now < seconds - 1e-9:  # a rounding error isn't a frame of its own
        times.append(now)
        dense = seconds / 3 <= now < 2 * seconds / 3
        now += (0.5 if dense else 2.0) / how.fps
    return times
