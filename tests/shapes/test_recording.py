"""Scripts as video files, read by PyAV alone."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.shapes.recording import Recording, frame_seconds, write_clip
from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import Script
from training.world.random_scripts import draw_script


@pytest.fixture(scope="module")
def script() -> Script:
    from dataclasses import replace

    drawn = draw_script([4, 8], "train")
    return replace(drawn, seconds=5.0, camera=replace(drawn.camera, quality=18))


def decoded(path: Path) -> tuple[np.ndarray, list[float], int, str]:
    """Frames as stored, their times in seconds, the rotation they ask for, and the codec."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        pictures = np.stack([f.to_ndarray(format="rgb24") for f in frames])
        codec = container.streams.video[0].codec_context.name
        return pictures, [float(f.time or 0.0) for f in frames], frames[0].rotation, codec


@pytest.mark.parametrize(
    ("name", "how", "codec"),
    [
        ("a.mp4", Recording(), "h264"),
        ("a.mp4", Recording(fps=12, side=96, turned=90), "h264"),
        ("a.mp4", Recording(uneven=True), "h264"),
        ("a.webm", Recording(side=64), "vp9"),
    ],
    ids=["usual", "turned", "uneven", "webm"],
)
def test_the_file_shows_the_script(name, how, codec, script, tmp_path) -> None:
    write_clip(script, how, tmp_path / name)
    pictures, seconds, rotation, written = decoded(tmp_path / name)
    assert codec in written
    assert rotation == how.turned
    assert seconds == pytest.approx(frame_seconds(5.0, how), abs=2e-3)
    for i in (0, len(pictures) // 2, len(pictures) - 1):
        shown = np.rot90(pictures[i], k=rotation // 90).astype(float)
        drawn = render(script, np.array([seconds[i] / 5.0]), how.side)[0]
        assert np.abs(shown - drawn).mean() < 8


def test_uneven_times() -> None:
    times = frame_seconds(3, Recording(fps=2, uneven=True))
    assert times == [0, 1, 1.25, 1.5, 1.75, 2]


def test_even_times_fill_the_clip() -> None:
    assert frame_seconds(4.0, Recording(fps=8)) == [i / 8 for i in range(32)]


def test_a_file_is_the_same_each_time(script, tmp_path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(script, Recording(side=64), tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
