"""Raw streams, which have no time stamps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.video import Sampling
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.live_stream import LiveStream, parse_input
from tests.video.clips import coded_picture
from tests.video.inside import read
from tests.video.test_live_stream import next_clip

FRAMES = 24
FILM = Fraction(30000, 1001)
# By FFmpeg's name of the raw format: encoder, pixel format, size.
FORMATS = {
    "h264": ("libx264", "yuv420p", (64, 48)),
    "hevc": ("libx265", "yuv420p", (64, 48)),
    "mpeg2video": ("mpeg2video", "yuv420p", (64, 48)),
    "m4v": ("mpeg4", "yuv420p", (64, 48)),
    "obu": ("libsvtav1", "yuv420p", (64, 64)),
    "mjpeg": ("mjpeg", "yuvj420p", (64, 48)),
    "dnxhd": ("dnxhd", "yuv422p", (256, 128)),
    "h263": ("h263", "yuv420p", (128, 96)),
    "h261": ("h261", "yuv420p", (176, 144)),
}


def written(folder: Path, name: str, rate: Fraction, **options: str) -> Path:
    codec, pixels, size = FORMATS[name]
    path = folder / f"{name}-{float(rate):.2f}"
    if codec == "libx265":
        options.setdefault("x265-params", "log-level=none")
    with av.open(str(path), "w", format=name) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.options = options | ({"profile": "dnxhr_lb"} if codec == "dnxhd" else {})
        for number in range(FRAMES):
            picture = np.asarray(coded_picture(number))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(*size, pixels)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_a_raw_stream_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, name: str
) -> None:
    path = written(tmp_path, name, FILM)
    with pytest.raises(VideoError, match=r"is a raw stream, .* `ffmpeg -r 25 -i raw.h264 clip.mp4"):
        read(path)


def test_a_raw_stream_that_grows_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "mjpeg", FILM)
    sampling = Sampling(frames=2, start_s=0, end_s=100)
    with (
        LiveStream(parse_input(str(path)), sampling, Limits(), timeout_s=1) as stream,
        pytest.raises(VideoError, match="is a raw stream"),
    ):
        next_clip(stream)
