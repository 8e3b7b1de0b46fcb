"""Live sources: how they are named, what their process may do, and their clock."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.video.clip import Fit, FrameResize, known
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.live_stream import EndedError, LiveStream, parse_input
from dycoke_cli.video.sampling import Sampling
from tests.processes.sealed import assert_sealed
from tests.video.clips import numbers_in
from tests.video.live_sources import RATE, SECONDS, recorded

AS_DECODED: Future[Fit] = known(lambda *_: None)


def stream_of(source: Path, every_s: float = 3, frames: int = 3) -> LiveStream:
    sampling = Sampling(frames=frames, start_s=0, end_s=every_s)
    return LiveStream(parse_input(str(source)), sampling, Limits(), timeout_s=1)


def next_clip(stream: LiveStream, fit: Future[Fit] = AS_DECODED) -> Any:
    with stream.next_window().open() as window:
        return window.read(lambda done, total: None, fit)


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ("-", "stdin", "the video on stdin"),
        ("/tmp", "folder", "/tmp"),
        ("C:/clips/one.ts", "file", "C:/clips/one.ts"),
        ("a\x1b[1m.ts", "file", r"a\x1b[1m.ts"),
    ],
)
def test_what_is_named(given: str, kind: str, name: str) -> None:
    live = parse_input(given)
    assert (live.kind, live.name) == (kind, name)


@pytest.mark.parametrize(
    "given", ["rtsp://me:secret@camera/1", "https://h/x.ts", "file:///etc/passwd", "/dev/null"]
)
def test_an_address_and_a_device_are_for_a_pipe(given: str) -> None:
    with pytest.raises(UsageError, match=r"`ffmpeg -i rtsp://CAMERA .* \| dycoke watch -") as error:
        parse_input(given)
    assert "secret" not in str(error.value)


def test_each_window_has_the_nearest_frames(tmp_path: Path) -> None:
    with stream_of(recorded(tmp_path), every_s=2.5, frames=3) as stream:
        clips = [next_clip(stream) for _ in range(4)]
        with pytest.raises(EndedError, match="hasn't grown for 1 s"):
            next_clip(stream)
    # Three times of each 20 frames: the first, the one in the middle (the earlier), the last.
    assert [numbers_in(clip.frames) for clip in clips] == [
        [first, first + 9, first + 19] for first in range(0, RATE * SECONDS, 20)
    ]
    assert [clip.part_s for clip in clips] == [(0, 2.5), (2.5, 5), (5, 7.5), (7.5, 10)]
    assert [clip.info.duration_s for clip in clips] == [2.5, 5, 7.5, 10]


def test_the_clock_goes_on_where_time_stamps_begin_again(tmp_path: Path) -> None:
    recording = recorded(tmp_path, seconds=4)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * recording.read_bytes())
    with stream_of(joined, every_s=4, frames=2) as stream:
        clips = [next_clip(stream), next_clip(stream)]
    assert [clip.part_s for clip in clips] == [(0, 4), (4, 8)]
    assert [numbers_in(clip.frames) for clip in clips] == [[0, 31], [0, 31]]


def test_frames_are_resized_for_their_number(tmp_path: Path) -> None:
    def fit(count: int, height: int, width: int) -> FrameResize:
        return FrameResize((height, width), (24, 32), "bilinear", False, False, in_float=True)

    def by_count(count: int, height: int, width: int) -> FrameResize:
        return FrameResize((height, width), (24, 32 * count), "bilinear", False, False, True)

    path = recorded(tmp_path)
    for size, one in (((24, 32), fit), ((24, 96), by_count)):
        with stream_of(path) as stream:
            clip = next_clip(stream, known(one))
        assert clip.frames.shape == (3, *size, 3)
        assert numbers_in(clip.frames[:, :, :: size[1] // 32]) == [0, 11, 23]


def test_the_process_is_sealed_before_it_reads(tmp_path: Path) -> None:
    with stream_of(recorded(tmp_path)) as stream, stream.open():
        clip: Any = stream._clip
        assert_sealed(clip._process.pid)
