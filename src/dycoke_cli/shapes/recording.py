"""Scripts as video files, encoded with PyAV in the ways that real files come."""

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
    """How a script becomes a file: .webm is VP9, all else H.264.

    Attributes:
        fps: frames per second.
        side: pixels.
        turned: degrees by which the pixels are stored turned clockwise; a display matrix turns
            them back. 0, 90, 180 or 270.
        uneven: frames come at a variable rate: four times as densely in the middle third.
    """

    fps: int = 8
    side: int = 128
    turned: int = 0
    uneven: bool = False


def write_clip(script: Script, how: Recording, path: Path) -> None:
    """Renders and encodes a script at the quality that it asks for; the same file each time."""
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
            following = times[i + 1] if i + 1 < len(times) else script.seconds
            frame.duration = round(following * TICKS) - frame.pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frame_seconds(seconds: float, how: Recording) -> list[float]:
    """When each frame is shown, from 0 on."""
    if not how.uneven:
        return [i / how.fps for i in range(round(seconds * how.fps))]
    shown, now = [], 0.0
    while now < seconds - 1e-9:
        shown.append(now)
        dense = seconds / 3 <= now < 2 * seconds / 3
        now += (0.5 if dense else 2.0) / how.fps
    return shown
