"""Counts of thermal cameras: grey of more than 8 bits that fills little of its range."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.video import Sampling
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.live.live_stream import LiveStream, parse_input
from tests.video.inside import read
from tests.video.live.test_live_stream import next_clip

# 14-bit counts of a room with a warm body in it.
ROOM = np.random.default_rng(0).integers(8000, 8040, (96, 128), np.uint16)
ROOM[30:60, 40:80] += 900
BITS = {"gray16le": 16, "gray16be": 16, "gray12le": 12, "gray10le": 10}


def written(path: Path, pixels: str, *pictures: np.ndarray, codec: str = "ffv1") -> Path:
    """Write grey pictures, uint16 [H, W] of 16 bits, without the bits that a format lacks."""
    order = ">u2" if pixels.endswith("be") else "<u2"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=5)
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt = pixels
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame(stream.width, stream.height, pixels)
            rows = np.zeros((stream.height, frame.planes[0].line_size // 2), order)
            rows[:, : stream.width] = picture >> 16 - BITS[pixels]
            frame.planes[0].update(rows.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def said(path: Path) -> str:
    return (
        f"{path} has grey values that fill less than a sixteenth of their range, as those of "
        "thermal cameras: each picture is stretched from its darkest to its brightest value, so "
        "its greys can't be compared with those of another"
    )


@pytest.mark.parametrize(
    ("pixels", "name", "codec"),
    [
        ("gray16le", "clip.mkv", "ffv1"),
        ("gray12le", "clip.mkv", "ffv1"),
        ("gray10le", "clip.mkv", "ffv1"),
        ("gray16be", "clip.mov", "png"),
        ("gray16le", "clip.nut", "rawvideo"),
    ],
)
def test_counts_are_stretched_aloud(tmp_path: Path, pixels: str, name: str, codec: str) -> None:
    path = written(tmp_path / name, pixels, ROOM, ROOM // 2, codec=codec)
    clip = read(path)
    for frame, counts in zip(clip.frames, (ROOM, ROOM // 2), strict=True):
        stored = (counts >> 16 - BITS[pixels]).astype(float)
        expected = 255 * (stored - stored.min()) / (stored.max() - stored.min())
        assert (frame[..., :1] == frame).all()
        np.testing.assert_allclose(frame[..., 0], expected, atol=1)
    assert clip.warnings == (said(path),)


def test_a_wide_range_is_kept(tmp_path: Path) -> None:
    """Values that fill a sixteenth, one value, and 8 bits are shown as they are, and silently."""
    ramp = np.linspace(0, 65535, 128).astype(np.uint16).repeat(96).reshape(128, 96).T
    narrow = ramp // 15
    pictures = [ramp, narrow, np.full_like(ramp, 8000)]
    clip = read(written(tmp_path / "clip.mkv", "gray16le", *pictures))
    for frame, picture in zip(clip.frames, pictures, strict=True):
        np.testing.assert_allclose(frame[..., 0], picture / 257, atol=1.5)
    assert clip.warnings == ()
    dark = tmp_path / "dark.mkv"
    with av.open(str(dark), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "gray"
        eight = np.arange(512, dtype=np.uint8).reshape(16, 32) % 10
        container.mux(stream.encode(av.VideoFrame.from_ndarray(eight, "gray")))
        container.mux(stream.encode(None))
    np.testing.assert_array_equal(read(dark).frames[0][..., 0], eight)


def test_in_the_process_and_of_a_source_that_comes(tmp_path: Path) -> None:
    path = written(tmp_path / "clip.mkv", "gray16le", ROOM, ROOM)
    here = read(path)
    with Decoder() as decoder:
        clip = decoder.read(str(path), Sampling())
    np.testing.assert_array_equal(clip.frames, here.frames)
    assert clip.warnings == here.warnings == (said(path),)
    sampling = Sampling(frames=2, start_s=0, end_s=10)
    with LiveStream(parse_input(str(path)), sampling, Limits(), timeout_s=1) as stream:
        window = next_clip(stream)
    np.testing.assert_array_equal(window.frames, here.frames)
    assert window.warnings == (said(path),)
