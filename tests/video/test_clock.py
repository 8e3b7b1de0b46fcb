"""One clock for time stamps that begin again, jump or are lost; time codes as of OpenTimelineIO."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from opentimelineio.opentime import RationalTime, to_timecode

from dycoke_cli.video import Sampling, SubtitleSource
from dycoke_cli.video.clip import Timecode
from dycoke_cli.video.file_layout import layout_of
from dycoke_cli.video.frame_index import Clock
from dycoke_cli.video.planning import _lead_s
from dycoke_cli.video.source import VideoSource
from tests.cli.harness import CLIP
from tests.video.clips import Recipe, numbers_in
from tests.video.conftest import MakeClip
from tests.video.inside import plan, probe, read
from tests.video.test_subtitles import muxed

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


def alone(path: Path) -> int:
    """Number of frames that PyAV decodes."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def late(recipe: Recipe, by_ms: int) -> Recipe:
    """The same frames, whose times begin later."""
    return replace(recipe, times_ms=tuple(by_ms + 40 * n for n in range(recipe.frames)))


@pytest.mark.parametrize("recipe", FORMATS.values(), ids=FORMATS)
def test_joined_files_are_read_as_one(make_clip: MakeClip, tmp_path: Path, recipe: Recipe) -> None:
    first, second = make_clip(recipe).path, make_clip(replace(recipe, frames=20)).path
    expected = [*range(alone(first)), *range(alone(second))]
    path = join(tmp_path / f"joined{recipe.suffix}", first, second)
    clip = read(path, Sampling(frames=1000))
    assert numbers_in(clip.frames) == expected
    assert clip.timestamps_s == pytest.approx([n / RATE for n in range(50)], abs=0.002)
    assert clip.info.duration_s == pytest.approx(50 / RATE, abs=0.002)
    assert (clip.info.frame_count, clip.warnings) == (50, ())
    # Sought, and a part of it that lies across the joint.
    wanted = [round(moment) for moment in np.linspace(0, 49, 6)]
    assert numbers_in(read(path, Sampling(frames=6)).frames) == [expected[n] for n in wanted]
    across = read(path, Sampling(frames=1000, start_s=1.11, end_s=1.31))
    assert numbers_in(across.frames) == expected[28:33]


def test_a_jump_ahead_of_a_broadcast_goes_on_and_a_pause_of_a_camera_stays(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    hour = 3_600_000
    path = join(tmp_path / "jump.ts", make_clip(TS).path, make_clip(late(TS, hour)).path)
    clip = read(path, Sampling(frames=1000))
    assert numbers_in(clip.frames) == [*range(FRAMES), *range(FRAMES)]
    assert clip.info.duration_s == pytest.approx(2 * FRAMES / RATE, abs=0.002)
    # A broadcast that stops for less than FFmpeg's threshold of 10 s.
    path = join(tmp_path / "gap.ts", make_clip(TS).path, make_clip(late(TS, 6000)).path)
    assert plan(path).info.duration_s == pytest.approx(6 + FRAMES / RATE, abs=0.1)
    slept = replace(MKV, times_ms=(*range(0, 1200, 40), *range(hour, hour + 1200, 40)))
    assert plan(make_clip(slept).path).info.duration_s == pytest.approx(3601.2, abs=0.1)


def test_parts_that_overlap(make_clip: MakeClip, tmp_path: Path) -> None:
    parts = [make_clip(TS).path, make_clip(late(TS, 800)).path, make_clip(late(TS, 400)).path]
    clip = read(join(tmp_path / "over.ts", *parts), Sampling(frames=1000))
    assert numbers_in(clip.frames) == 3 * [*range(FRAMES)]
    assert clip.timestamps_s == pytest.approx([n / RATE for n in range(3 * FRAMES)], abs=0.002)


def test_subtitles_follow_their_part(make_clip: MakeClip, tmp_path: Path) -> None:
    lines = "1\n00:00:00,200 --> 00:00:00,400\n{}\n\n2\n00:00:00,900 --> 00:00:01,100\n{} too\n"
    parts = [
        muxed(make_clip(Recipe(frames=FRAMES)).path, tmp_path / f"{n}.mkv", lines.format(n, n))
        for n in "ab"
    ]
    path = join(tmp_path / "joined.mkv", *parts)
    found = read(path, Sampling(frames=1000), subtitles=SubtitleSource(None)).subtitles
    assert found is not None
    assert [(line.text, round(line.start_s, 2)) for line in found.lines] == [
        ("a", 0.2), ("a too", 0.9), ("b", 1.4), ("b too", 2.1)
    ]  # fmt: skip


def toned(path: Path, hertz: int, hole: range = range(0), rate: int = 32000) -> Path:
    """A second of pictures with a tone that ends later, and lacks the samples of a hole."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg2video", rate=RATE)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream("mp2", rate=rate)
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate * 27 // 25) / rate)
        for place in range(0, len(tone), 1152):
            samples = (tone[None, place : place + 1152] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
            packets = sound.encode(frame)
            if place not in hole:
                out.mux(packets)
        out.mux(sound.encode())
        for number in range(RATE):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * number, np.uint8))
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            out.mux(video.encode(picture))
        out.mux(video.encode())
    return path


def test_sound_follows_the_pictures_of_its_part(tmp_path: Path) -> None:
    # The rate changes from part to part.
    rates = {440: 32000, 880: 48000, 1320: 44100}
    parts = [toned(tmp_path / f"{hz}.ts", hz, rate=rate) for hz, rate in rates.items()]
    path = join(tmp_path / "toned.ts", *parts)
    for start in (0.0, 1.0):
        audio = read(path, Sampling(frames=2, start_s=start, audio_rate=8000)).audio
        assert audio is not None
        assert audio.seconds == pytest.approx(3 - start, abs=0.01)
        for second in range(int(3 - start)):
            samples = audio.samples[second * 8000 + 1600 : second * 8000 + 7200]
            loudest = np.abs(np.fft.rfft(samples)).argmax() * 8000 / len(samples)
            assert loudest == pytest.approx(440 * (second + start + 1), abs=5)


def test_sound_behind_a_hole_has_its_own_time(tmp_path: Path) -> None:
    path = toned(tmp_path / "hole.ts", 440, range(9600, 22400))
    audio = read(path, Sampling(frames=2, audio_rate=8000)).audio
    assert audio is not None
    loud = [float(np.abs(audio.samples[at : at + 400]).max()) > 0.1 for at in (1600, 4000, 6400)]
    assert loud == [True, False, True]


def test_a_seek_to_another_time_than_a_keyframes_own_isnt_used(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = make_clip(replace(TS, frames=150))
    honest = VideoSource._seek_by_time
    sought = []

    def late(self: VideoSource, time_s: float) -> float | None:
        sought.append(time_s)
        return (honest(self, time_s) or 0.0) + 0.04

    monkeypatch.setattr(VideoSource, "_seek_by_time", late)
    clip = read(coded.path, Sampling(frames=7))
    assert numbers_in(clip.frames) == [round(n) for n in np.linspace(0, 149, 7)]
    assert len(sought) == 1


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


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(suffix=".flv", codec="flv1")], ids=str)
def test_parts_that_cant_be_reached_are_said(
    make_clip: MakeClip, tmp_path: Path, recipe: Recipe
) -> None:
    single = make_clip(recipe).path
    assert plan(single).warnings == ()
    (warning,) = plan(join(tmp_path / f"two{recipe.suffix}", single, single)).warnings
    assert "has more after its first 2.0 s" in warning
    assert "ffmpeg -f concat" in warning


def box(name: bytes, size: int | None = None, content: bytes = b"") -> bytes:
    return (8 + len(content) if size is None else size).to_bytes(4, "big") + name + content


EBML, SEGMENT = b"\x1a\x45\xdf\xa3\x84....", b"\x18\x53\x80\x67"


@pytest.mark.parametrize(
    ("content", "single", "hidden"),
    [
        (box(b"ftyp") + box(b"moov") + box(b"mdat", 0, b"to the end"), True, 0),
        (box(b"ftyp") + box(b"mdat", 1, (20).to_bytes(8, "big") + b"long") + box(b"moov"), True, 0),
        (box(b"ftyp") + box(b"moov") + box(b"moof") + box(b"mdat"), False, 0),
        (2 * (box(b"ftyp") + box(b"moov") + box(b"mdat")), True, 1),
        (EBML + SEGMENT + b"\x84" + b"four", True, 0),
        (EBML + SEGMENT + b"\x84" + b"four" + EBML, False, 0),
        (EBML + SEGMENT + b"\x40\x04" + b"four\xec\x80", True, 0),  # padding behind it
        (EBML + SEGMENT + b"\x01" + 7 * b"\xff" + b"live", False, 0),
        (EBML + SEGMENT + b"\x01" + 7 * b"\xfe" + b"cut off", True, 0),
        (box(b"ftyp") + box(b"mdat", 1, 8 * b"\xff" + b"cut off"), True, 0),
        (EBML, False, 0),
        (b"\x1a\x45\xdf\xa3\x00", False, 0),
        (b"\x1a\x45\xdf\xa3\x01\xff", False, 0),  # cut off within a size
        (EBML + SEGMENT + b"\x01\x00\x00", False, 0),
        (b"\x47" * 400, False, 0),
        (b"", False, 0),
    ],
)  # fmt: skip
def test_the_layout_of_a_file(tmp_path: Path, content: bytes, single: bool, hidden: int) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    with path.open("rb") as file:
        layout = layout_of(file)
    assert (layout.is_single, layout.hidden_films, layout.size) == (single, hidden, len(content))


def observed(packets: Sequence[tuple[str, float, bool]], *, broadcast: bool = True) -> Clock:
    """A clock that has seen packets: "v" or "a", seconds, and whether it is a keyframe."""
    base = Fraction(1, 1000)
    streams = [
        SimpleNamespace(index=n, type=kind, time_base=base)
        for n, kind in enumerate(("video", "audio"))
    ]
    container: Any = SimpleNamespace(
        format=SimpleNamespace(name="any", flags=0x200 if broadcast else 0), streams=streams
    )
    video: Any = streams[0]
    clock = Clock(container, video, Fraction(1, 25))
    for number, (stream, time, key) in enumerate(packets):
        ticks = round(1000 * time)
        packet: Any = SimpleNamespace(
            stream_index="va".index(stream), pts=ticks, dts=ticks, duration=40, is_keyframe=key
        )
        part = clock.observe(packet, number)
        if stream == "v":
            part.add_frame(ticks, 40)
    clock.set_shifts()
    return clock


@pytest.mark.parametrize(
    ("packets", "broadcast", "parts"),
    [
        ([("v", n / 25, n == 0) for n in range(9)], True, 1),
        # Slides: the sound goes on between two of them.
        ([("v", 0, True), *(("a", n, True) for n in range(21)), ("v", 20, True)], True, 1),
        ([("v", 0, True), ("v", 20, True)], True, 2),
        ([("v", 0, True), ("v", 20, True)], False, 1),
        ([("v", 0, True), ("v", 31 * 3600, True)], False, 2),
        # Noise.
        ([("v", 10 * (n % 2), True) for n in range(20_100)], True, 10_000),
        # Less than FFmpeg's tenth of a second back, but a keyframe; reordered frames aren't.
        ([("v", 0, True), ("v", 0.04, False), ("v", 0, True)], True, 2),
        ([("v", 0, True), ("v", 0.08, False), ("v", 0.04, False)], True, 1),
        ([("v", 0, True), ("v", 0.12, False), ("v", 0.04, False)], False, 1),
        ([("v", 5, True), ("v", 5.04, False), ("v", 0, False)], True, 2),
        ([("v", 5, True), ("v", 5.04, False), ("v", 0, False)], False, 2),
        # The sound steps first, the last of the old sound comes late, and both are in two parts.
        ([("v", 0, True), ("a", 0, True), ("v", 5, False), ("a", 5, True),
          ("a", 0, True), ("v", 0, True), ("a", 0.04, True)], True, 2),
        ([("v", 0, True), ("a", 0, True), ("v", 5, False), ("v", 0, True),
          ("a", 5, True), ("a", 0, True)], True, 2),
    ],
)  # fmt: skip
def test_steps_of_time_stamps(
    packets: list[tuple[str, float, bool]], broadcast: bool, parts: int
) -> None:
    assert len(observed(packets, broadcast=broadcast).parts) == parts


def test_a_late_packet_keeps_the_shift_of_its_part() -> None:
    clock = observed(
        [
            ("v", 0, True),
            ("a", 0, True),
            ("v", 5, False),
            ("v", 0, True),
            ("a", 5, True),
            ("a", 0, True),
        ]
    )
    shifts = [clock.shift(0, 2), clock.shift(0, 3), clock.shift(1, 4), clock.shift(1, 5)]
    assert shifts == [0, Fraction(504, 100), 0, Fraction(504, 100)]


def test_a_damaged_time_stamp_moves_no_other() -> None:
    clock = observed([("v", 0, True), ("v", 0.04, False), ("v", 900, False), ("v", 0.12, False)])
    assert [clock.shift(0, n) for n in range(4)] == [0, 0, Fraction(8, 100) - 900, 0]


NTSC = {fps: Fraction(fps * 1000, 1001) for fps in (24, 30, 60)}
RATES = [(NTSC[24], False), (Fraction(24), False), (Fraction(25), False), (NTSC[30], False)]
RATES += [(NTSC[30], True), (Fraction(50), False), (NTSC[60], False), (NTSC[60], True)]


@pytest.mark.parametrize(("rate", "drop"), RATES)
def test_a_frame_has_the_code_of_another_library(rate: Fraction, drop: bool) -> None:
    count, choose = Timecode(rate, drop), random.Random(0)
    tens = 600 * count.per_second
    # Around the starts of minutes and of tens of minutes, where numbers are left out, and anywhere.
    frames = {
        max(0, start + near)
        for start in [*range(0, 4 * tens, 60 * count.per_second)]
        for near in range(-80, 10)
    }
    frames |= {choose.randrange(23 * 6 * tens) for _ in range(2000)}
    for frame in sorted(frames):
        code = to_timecode(RationalTime(frame, float(rate)), float(rate), drop)
        assert count.text(frame) == code
        assert count.frame_of(code) == frame
    day = 24 * 6 * (10 * 60 * count.per_second - 9 * (count.left_out if drop else 0))
    assert [count.frame_of(count.text(day + near)) for near in (-1, 0, 1)] == [day - 1, 0, 1]


def test_drop_frame_keeps_the_time_of_the_clock() -> None:
    count = Timecode.of(29.97, "00:00:00;00")
    assert count == Timecode(NTSC[30], drop=True)
    assert count.text(count.frame_at(3600.0)) == "01:00:00;00"
    assert Timecode(NTSC[30]).text(Timecode(NTSC[30]).frame_at(3600.0)) == "00:59:56:12"


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (29.97, NTSC[30]),
        (30.01, 30),
        (23.98, NTSC[24]),
        (25.0, 25),
        (15.02, 15),
        (8.0, 8),
        (59.9, NTSC[60]),
        (0.2, 1),
        (None, 25),
    ],
)
def test_an_average_rate_is_counted_by_the_rate_of_editors(
    fps: float | None, rate: Fraction | int
) -> None:
    assert Timecode.of(fps, None) == Timecode(Fraction(rate))


def test_no_other_rate_leaves_out_numbers() -> None:
    assert not Timecode.of(25.0, "10:00:00;00").drop
    assert Timecode.of(25.0, "nonsense").frame_of("nonsense") == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mxf"])
def test_the_start_time_code_of_a_file_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    with av.open(str(path), "w", options={"timecode": "01:02:03:04"}) as container:
        container.metadata["timecode"] = "01:02:03:04"
        codec = "mpeg2video" if suffix == ".mxf" else "mpeg4"
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["timecode"] = "01:02:03:04"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    assert probe(path).timecode == "01:02:03:04"


def test_the_time_code_of_matroska_has_a_tag_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["timecode"] = "01:02:03:04"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        tags = {**container.metadata, **container.streams[0].metadata}
        assert "TIMECODE" in tags
    assert probe(path).timecode == "01:02:03:04"


def test_a_file_without_one_has_none() -> None:
    found = probe(CLIP)
    assert (found.timecode, found.lead_s) == (None, 0)


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
    source: Any = SimpleNamespace(container=SimpleNamespace(start_time=start), origin=Fraction(2))
    assert _lead_s(source) == lead
