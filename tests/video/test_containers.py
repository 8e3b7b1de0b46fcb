"""The frame nearest to each wanted time, in every container, and what its tags may be."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.video.clip import Clip
from dycoke_cli.video.sampling import Sampling
from tests.marks import EXTENDED
from tests.video.clips import CodedClip, Recipe, numbers_in, remuxed
from tests.video.conftest import MakeClip
from tests.video.inside import plan, probe, read, read_subtitles
from tests.video.test_damage import damaged

FRAGMENTED = (("movflags", "frag_keyframe+empty_moov"),)
INDEX_FIRST = (("movflags", "faststart"),)
BURSTS = (*range(0, 1000, 40), 1500, 1530, 2600, 4000, *range(5000, 5500, 20))

RECIPES = {
    "mp4": Recipe(),
    "mp4, index first": Recipe(container_options=INDEX_FIRST),
    "mp4, fragmented": Recipe(container_options=FRAGMENTED),
    "mp4, one keyframe": Recipe(gop=1000),
    "mp4, open groups": Recipe(options=(("x264-params", "open-gop=1:bframes=3"),)),
    "mp4, variable rate": Recipe(times_ms=BURSTS),
    "mp4 with longer sound": Recipe(sound_s=3.0),
    "mov": Recipe(suffix=".mov"),
    "hevc": Recipe(codec="libx265", options=(("x265-params", "log-level=none:keyint=10"),)),
    "mkv": Recipe(suffix=".mkv"),
    "mkv, late start": Recipe(suffix=".mkv", times_ms=tuple(range(700, 2700, 40))),
    "mkv, variable rate": Recipe(suffix=".mkv", times_ms=BURSTS),
    "webm vp8": Recipe(suffix=".webm", codec="libvpx", options=(("deadline", "realtime"),)),
    "webm vp9": Recipe(suffix=".webm", codec="libvpx-vp9", options=(("deadline", "realtime"),)),
    "ts": Recipe(suffix=".ts"),
    "avi": Recipe(suffix=".avi", codec="mpeg4"),
    "avi, frames reordered": Recipe(suffix=".avi"),
    "flv": Recipe(suffix=".flv", codec="flv1"),
    "mjpeg": Recipe(suffix=".mkv", codec="mjpeg", pix_fmt="yuvj420p"),
}


@pytest.fixture(params=list(RECIPES))
def coded(request: pytest.FixtureRequest, make_clip: MakeClip) -> CodedClip:
    return make_clip(RECIPES[request.param])


def assert_nearest(coded: CodedClip, clip: Clip, wanted: Sequence[Fraction | float]) -> None:
    expected = sorted({coded.nearest(time) for time in wanted})
    numbers = numbers_in(clip.frames)
    np.testing.assert_allclose(clip.timestamps_s, [coded.times_s[i] for i in numbers], atol=0.0011)
    assert (numbers, clip.warnings) == (expected, ())


@pytest.mark.parametrize("frames", [3, 8, *(pytest.param(n, marks=EXTENDED) for n in (2, 7))])
def test_evenly_spread(coded: CodedClip, frames: int) -> None:
    clip, wanted = read(coded.path, Sampling(frames=frames)), coded.evenly(frames)
    nearest = {coded.nearest(time) for time in wanted}
    if len(nearest) == frames:
        assert_nearest(coded, clip, wanted)
    else:  # the variable rate has gaps: see test_gaps.py
        evenly = np.linspace(0, len(coded.times_s) - 1, frames).round().tolist()
        assert numbers_in(clip.frames) == evenly


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_of_two_equally_near_frames_the_earlier(make_clip: MakeClip, suffix: str) -> None:
    """Wanted number k is frame 249·k/(N-1), which ends in a half for each of these N."""
    coded = make_clip(Recipe(suffix=suffix, codec="mpeg4", frames=250))
    for frames in (3, 7, 55, 167):
        wanted = [Fraction(249 * step, frames - 1) for step in range(frames)]
        assert any(time.denominator == 2 for time in wanted)
        numbers = numbers_in(read(coded.path, Sampling(frames=frames)).frames)
        assert numbers == [math.ceil(time - Fraction(1, 2)) for time in wanted]
    # At 12.5 and 37.5 frames, and between frames 7 and 8 from 0.3 s on.
    assert numbers_in(read(coded.path, Sampling(fps=2, end_s=2)).frames) == [0, 12, 25, 37]
    part = Sampling(frames=1, start_s=0.28, end_s=0.36)
    assert numbers_in(read(coded.path, part).frames) == [7]


def test_one_frame_is_the_middle_one(coded: CodedClip) -> None:
    middle = coded.times_s[-1] / 2
    clip = read(coded.path, Sampling(frames=1))
    (number,) = numbers_in(clip.frames)
    assert (
        abs(coded.times_s[number] - middle)
        <= abs(coded.times_s[coded.nearest(middle)] - middle) + 0.0011
    )


@pytest.mark.parametrize("frames", [1, *(pytest.param(n, marks=EXTENDED) for n in (0, 150))])
def test_fewer_than_asked_gives_all_and_none_twice(coded: CodedClip, frames: int) -> None:
    sampling = Sampling(frames=len(coded.times_s) + frames)
    clip = read(coded.path, sampling)
    assert {coded.nearest(t) for t in plan(coded.path, sampling).times_s} == {
        *range(len(coded.times_s))
    }
    assert numbers_in(clip.frames) == list(range(len(coded.times_s)))
    np.testing.assert_allclose(clip.timestamps_s, coded.times_s, atol=0.0011)


def test_part(coded: CodedClip) -> None:
    clip = read(coded.path, Sampling(frames=100, start_s=0.5, end_s=1.0))
    expected = [i for i, time in enumerate(coded.times_s) if 0.5 - 1e-3 <= time < 1.0]
    assert numbers_in(clip.frames) == expected


def test_frames_per_second(coded: CodedClip) -> None:
    wanted = list(np.arange(0, coded.times_s[-1], 1 / 5))
    clip = read(coded.path, Sampling(fps=5))
    assert_nearest(coded, clip, wanted)


def test_plan_is_what_is_read(coded: CodedClip) -> None:
    for sampling in (Sampling(frames=8), Sampling(fps=2)):
        planned = plan(coded.path, sampling)
        clip = read(coded.path, sampling)
        assert planned.info == clip.info
        assert {coded.nearest(t) for t in planned.times_s} == set(numbers_in(clip.frames))


def test_part_between_two_frames_gives_the_frame_shown_then(make_clip: MakeClip) -> None:
    coded = make_clip(RECIPES["mp4, variable rate"])
    clip = read(coded.path, Sampling(start_s=3.0, end_s=3.5))
    assert clip.timestamps_s == (2.6,)
    assert numbers_in(clip.frames) == [coded.nearest(2.6)]


def test_part_never_reaches_beyond_its_ends(make_clip: MakeClip) -> None:
    coded = make_clip(RECIPES["mp4, variable rate"])
    for frames in (1, 2, 5, 30):
        clip = read(coded.path, Sampling(frames=frames, start_s=0.9, end_s=5.1))
        assert all(0.9 - 0.001 <= time < 5.1 for time in clip.timestamps_s)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_videos(make_clip: MakeClip, frames: int) -> None:
    for suffix in (".mp4", ".mkv", ".flv", ".avi"):
        clip = read(make_clip(Recipe(suffix=suffix, frames=frames)).path)
        assert numbers_in(clip.frames) == list(range(frames)), suffix


def test_program_stream_is_right_to_a_frame(make_clip: MakeClip) -> None:
    # After a seek in an MPEG program stream, FFmpeg's time stamps are off by half a frame.
    coded = make_clip(Recipe(suffix=".mpg", codec="mpeg2video"))
    for frames in (2, 3, 8):
        numbers = numbers_in(read(coded.path, Sampling(frames=frames)).frames)
        assert numbers == pytest.approx(np.linspace(0, 49, frames), abs=1.01)
    assert numbers_in(read(coded.path, Sampling(frames=60)).frames) == list(range(50))


SLOW = Recipe(frames=5, rate=4)  # at 0, 0.25, 0.5, 0.75 and 1 s, which a float holds


def test_a_frame_at_the_end_of_the_part_is_not_of_it(make_clip: MakeClip) -> None:
    """Where it is the nearest, and where all frames of the part are taken."""
    coded = make_clip(SLOW)
    between = Sampling(frames=1, start_s=0.7, end_s=0.75)
    assert numbers_in(read(coded.path, between).frames) == [2]  # which is shown then
    few = Sampling(frames=8, start_s=0.25, end_s=0.75)
    assert plan(coded.path, few).times_s == (0.25, 0.5)
    assert numbers_in(read(coded.path, few).frames) == [1, 2]
    by_rate = Sampling(fps=8, start_s=0.25, end_s=0.75)
    assert numbers_in(read(coded.path, by_rate).frames) == [1, 2]


TITLE = b"a title of 24 characters"
STORED = {
    "windows": "Название фильма и ещё тт".encode("cp1251"),
    "japanese": "映画の題名は十二文字です".encode("shift-jis"),
    "latin": "Ein Titel mit Ä, Ö und ß".encode("latin-1"),
    "cut in a letter": "a title that ends so: €€".encode()[:24],
}


def tagged(clip: CodedClip, path: Path, title: bytes) -> Path:
    """Copy a clip's packets into a file with a title, of the file and of its stream."""
    with av.open(str(clip.path)) as source, av.open(str(path), "w") as container:
        container.metadata["title"] = TITLE.decode()
        write = remuxed(source, container)
        about = container.streams.video[0].metadata
        about["handler_name"] = about["title"] = TITLE.decode()
        write()
    content = path.read_bytes()
    assert TITLE in content
    path.write_bytes(content.replace(TITLE, title))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("encoding", STORED)
def test_video(tmp_path: Path, make_clip: MakeClip, encoding: str, suffix: str) -> None:
    assert len(STORED[encoding]) == len(TITLE)
    clip = make_clip(Recipe())
    plain = tagged(clip, tmp_path / f"plain{suffix}", TITLE)
    other = tagged(clip, tmp_path / f"other{suffix}", STORED[encoding])
    assert replace(probe(other), path="") == replace(probe(plain), path="")
    sampled = read(other, Sampling(frames=5))
    assert numbers_in(sampled.frames) == numbers_in(read(plain, Sampling(frames=5)).frames)


def test_subtitles(tmp_path: Path) -> None:
    path = tmp_path / "lines.ass"
    path.write_bytes(
        b"[Script Info]\nTitle: " + STORED["windows"] + b"\n\n[Events]\n"
        b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        b"Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,hello\n"
    )
    assert [line.text for line in read_subtitles(path).lines] == ["hello"]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_ffmpeg_is_silent_about_damage(make_clip: MakeClip, tmp_path: Path) -> None:
    path = damaged(make_clip(Recipe()), tmp_path / "bad.mp4", 3, 4, 5)
    # Even where another part of the program has made it talk.
    script = (
        "import sys, av.logging; av.logging.restore_default_callback();"
        "av.logging.set_level(av.logging.DEBUG);"
        "from dycoke_cli.video.decoder import read; print(len(read(sys.argv[1]).warnings))"
    )
    done = run(script, str(path))
    assert done.stderr == ""
    assert done.stdout == "1\n"
