"""Time stamps that begin again, jump or are lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.video.frame_index import FrameIndex
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.source import VideoSource
from tests.video.clips import Recipe, numbers_in
from tests.video.conftest import MakeClip
from tests.video.inside import plan, probe, read

FRAMES, RATE = 30, 25
FRAGMENTED = (("movflags", "frag_keyframe+empty_moov+default_base_moof"),)
TS = Recipe(suffix=".ts", frames=FRAMES)
MKV = Recipe(suffix=".mkv", frames=FRAMES)
MPG = Recipe(
    suffix=".mpg", codec="mpeg2video", frames=FRAMES, gop=12, options=(("bf", "2"), ("qscale", "2"))
)
FORMATS = {
    "ts": TS,
    "mkv": MKV,
    "webm": Recipe(suffix=".webm", codec="libvpx", frames=FRAMES, options=(("cpu-used", "16"),)),
    "fragmented mp4": Recipe(frames=FRAMES, container_options=FRAGMENTED),
    "mpg": MPG,
    "vob": replace(MPG, suffix=".vob"),
}


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def late(recipe: Recipe, by_ms: int) -> Recipe:
    """The same frames, whose times begin later."""
    return replace(recipe, times_ms=tuple(by_ms + 40 * n for n in range(recipe.frames)))


@pytest.mark.parametrize("recipe", FORMATS.values(), ids=FORMATS)
def test_joined_files_are_refused(make_clip: MakeClip, tmp_path: Path, recipe: Recipe) -> None:
    first, second = make_clip(recipe).path, make_clip(replace(recipe, frames=20)).path
    path = join(tmp_path / f"joined{recipe.suffix}", first, second)
    with pytest.raises(VideoError, match="time stamps that begin again in mid-file"):
        read(path)


def test_a_jump_ahead_is_a_pause(make_clip: MakeClip, tmp_path: Path) -> None:
    hour = 3_600_000
    path = join(tmp_path / "jump.ts", make_clip(TS).path, make_clip(late(TS, hour)).path)
    clip = read(path, Sampling(frames=1000))
    assert numbers_in(clip.frames) == [*range(FRAMES), *range(FRAMES)]
    assert clip.info.duration_s == pytest.approx(3601.2, abs=0.1)
    slept = replace(MKV, times_ms=(*range(0, 1200, 40), *range(hour, hour + 1200, 40)))
    assert plan(make_clip(slept).path).info.duration_s == pytest.approx(3601.2, abs=0.1)


@pytest.mark.parametrize("at", [0, 1])
def test_a_single_damaged_time_stamp_is_no_restart(at: int) -> None:
    times = [0, 40, 80, 120, 160]
    times[2 + at] = 40 * at  # a keyframe that is said to come before others
    base, video = Fraction(1, 1000), SimpleNamespace(index=0, time_base=Fraction(1, 1000))
    packets: list[Any] = [
        SimpleNamespace(
            stream_index=0, stream=SimpleNamespace(type="video"), pts=time, duration=40,
            time_base=base, pos=0, is_keyframe=True, is_discard=False,
        )
        for time in times
    ]  # fmt: skip
    container: Any = SimpleNamespace(format=SimpleNamespace(name="any"))
    stream: Any = video
    assert not FrameIndex.of(container, stream, Fraction(1, 25), packets).restarts
    assert FrameIndex.of(container, stream, Fraction(1, 25), packets + packets[:2]).restarts


def test_a_seek_past_a_keyframe_isnt_used(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = make_clip(replace(TS, frames=150))
    monkeypatch.setattr("dycoke_cli.video.source._SEEK_LEAD_S", -1)
    clip = read(coded.path, Sampling(frames=7))
    assert numbers_in(clip.frames) == [round(n) for n in np.linspace(0, 149, 7)]


@pytest.mark.parametrize("recipe", [MPG, replace(MPG, codec="mpeg1video"), TS], ids=str)
def test_a_frame_that_is_sought_has_its_own_time(make_clip: MakeClip, recipe: Recipe) -> None:
    coded = make_clip(replace(recipe, frames=150))
    clip = read(coded.path, Sampling(frames=7))
    assert numbers_in(clip.frames) == [round(n) for n in np.linspace(0, 149, 7)]
    part = read(coded.path, Sampling(frames=1000, start_s=4.0, end_s=4.4))
    assert numbers_in(part.frames) == [*range(100, 110)]
    assert part.timestamps_s == pytest.approx([n / RATE for n in range(100, 110)])


def test_times_below_zero_of_matroska(make_clip: MakeClip) -> None:
    recipe = replace(
        MKV,
        times_ms=tuple(range(-800, 800, 40)),
        container_options=(("avoid_negative_ts", "disabled"),),
        gop=8,
    )
    path = make_clip(recipe).path
    clip = read(path, Sampling(frames=1000))
    assert numbers_in(clip.frames) == [*range(40)]
    assert clip.timestamps_s == pytest.approx([n / RATE for n in range(40)])
    assert (clip.info.duration_s, clip.info.start_s) == pytest.approx((1.6, -0.8), abs=0.002)
    assert numbers_in(read(path, Sampling(frames=4)).frames) == [0, 13, 26, 39]
    assert numbers_in(read(path, Sampling(frames=3, start_s=0.6, end_s=0.72)).frames) == [
        15,
        16,
        17,
    ]


def test_a_video_that_begins_behind_its_audio_says_by_how_much(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame(format="s16", layout="mono", samples=8000)
        sound.sample_rate, sound.pts = 8000, 0
        container.mux(audio.encode(sound))
        for number in range(5):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = 7 + number
            frame.time_base = Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    found = probe(path)
    assert found.start_s == pytest.approx(0.7)
    assert found.lead_s == pytest.approx(0.7)


@pytest.mark.parametrize(("start", "lead"), [(1_500_000, 0.5), (2_500_000, 0.0), (None, 0.0)])
def test_a_frame_before_the_start_of_the_file_has_no_lead(start: int | None, lead: float) -> None:
    """As of a stream that is cut where frames refer to what comes later: players show them, too."""
    container = SimpleNamespace(start_time=start, streams=[])
    source: Any = SimpleNamespace(container=container, packet_origin=Fraction(2))
    starts_s: Any = VideoSource.starts_s
    assert -starts_s.fget(source) == lead
