"""Damaged and cut-off files, and edit lists that show nothing: what is there is used."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.video import limits
from dycoke_cli.video.sampling import Sampling
from tests.video.clips import CodedClip, Recipe, numbers_in, with_edits
from tests.video.conftest import MakeClip
from tests.video.inside import plan, probe, read

INDEX_FIRST = (("movflags", "faststart"),)
ALL = Sampling(frames=1000)
# Every frame on its own, so that a bad one spoils no other.
STILLS = Recipe(gop=1, container_options=INDEX_FIRST)
# FFmpeg keeps these marked as keyframes even where they are damaged.
PNG = Recipe(suffix=".mov", codec="png", pix_fmt="rgb24", container_options=INDEX_FIRST)
CUTTABLE = {
    "mp4": STILLS,
    "mp4, groups": Recipe(container_options=INDEX_FIRST, options=(("x264-params", "bframes=0"),)),
    "png": PNG,
    "mkv": Recipe(suffix=".mkv", gop=1),
    "webm": Recipe(suffix=".webm", codec="libvpx", options=(("deadline", "realtime"),)),
    "mjpeg": Recipe(
        suffix=".mov", codec="mjpeg", pix_fmt="yuvj420p", container_options=INDEX_FIRST
    ),
    "with sound": Recipe(suffix=".mkv", gop=1, sound_s=2.0),
}


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def damaged(coded: CodedClip, path: Path, *numbers: int) -> Path:
    """A copy in which the packets of these frames are overwritten."""
    content = bytearray(coded.path.read_bytes())
    packets = packets_of(coded.path)
    for number in numbers:
        packet = packets[number]
        content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    return path


def cut(coded: CodedClip, path: Path, number: int) -> Path:
    """A copy that ends in the middle of the packet of a frame."""
    packet = packets_of(coded.path)[number]
    path.write_bytes(coded.path.read_bytes()[: packet.pos + packet.size // 2])
    return path


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ([0], "1 damaged packet was skipped"),
        ([20], "1 damaged packet was skipped"),
        ([1, 2, 30], "3 damaged packets were skipped"),
    ],
)
def test_damaged_packets(lost: list[int], told: str, make_clip: MakeClip, tmp_path: Path) -> None:
    """Times count from the first sound frame."""
    path = damaged(make_clip(STILLS), tmp_path / "bad.mp4", *lost)
    clip = read(path, ALL)
    assert numbers_in(clip.frames) == [number for number in range(50) if number not in lost]
    assert clip.warnings == (f"{path} is damaged: {told}",)
    assert clip.timestamps_s[0] == 0.0
    assert clip.info.start_s == pytest.approx(0.04 if 0 in lost else 0.0)


def test_wanted_frame_is_damaged_then_the_nearest_sound_one(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    path = damaged(make_clip(STILLS), tmp_path / "bad.mp4", 0, 49)
    clip = read(path, Sampling(frames=2))
    assert numbers_in(clip.frames) == [1, 48]


def test_every_packet_damaged(make_clip: MakeClip, tmp_path: Path) -> None:
    path = damaged(make_clip(STILLS), tmp_path / "bad.mp4", *range(50))
    for look in (probe, plan, read):
        with pytest.raises(VideoError, match=r"not one picture .*is the file cut off"):
            look(path)  # type: ignore[operator]


@pytest.mark.parametrize("recipe", [STILLS, PNG], ids=["h264", "png"])
def test_last_frames_damaged_falls_back_to_those_before(
    make_clip: MakeClip, tmp_path: Path, recipe: Recipe
) -> None:
    path = damaged(make_clip(recipe), tmp_path / f"bad{recipe.suffix}", *range(45, 50))
    assert numbers_in(read(path, Sampling(start_s=1.9, frames=1)).frames) == [44]
    assert numbers_in(read(path, Sampling(frames=2)).frames) == [0, 44]


@pytest.mark.parametrize("kind", list(CUTTABLE))
@pytest.mark.parametrize("frames", [3, 1000])
def test_cut_file_ends_early_with_a_warning(
    make_clip: MakeClip, tmp_path: Path, kind: str, frames: int
) -> None:
    coded = make_clip(CUTTABLE[kind])
    path = cut(coded, tmp_path / f"cut{coded.path.suffix}", 25)
    clip = read(path, Sampling(frames=frames))
    numbers = numbers_in(clip.frames)
    # The packet with the cut in it may be given, and may yield half a picture.
    assert numbers[0] == 0
    assert numbers[-1] in (23, 24, 25)
    assert len(numbers) in ((3,) if frames == 3 else (24, 25, 26))
    declared = "2.3" if kind == "with sound" else "2.0"
    sentence = (
        f"{path} ends at 1.0 s of {declared} s: it is cut off, and only what is there was used"
    )
    assert sentence in clip.warnings
    assert sentence in plan(path).warnings


@pytest.mark.parametrize("sound", [1.0, 3.5])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_of_another_length_is_no_damage(
    make_clip: MakeClip, sound: float, suffix: str
) -> None:
    clip = read(make_clip(Recipe(suffix=suffix, sound_s=sound)).path)
    assert clip.warnings == ()
    assert clip.info.duration_s == pytest.approx(2.0, abs=0.001)


def test_stream_that_appears_while_reading(make_clip: MakeClip, tmp_path: Path) -> None:
    # The last picture of a transport stream is given to a stream of its own, number 0x177, which
    # isn't known yet when the file is opened.
    content = bytearray(make_clip(Recipe(suffix=".ts")).path.read_bytes())
    video, begins = 0x100, 0x4000
    heads = [int.from_bytes(content[at + 1 : at + 3]) for at in range(0, len(content), 188)]
    last = max(number for number, head in enumerate(heads) if head == video | begins)
    content[188 * last + 1 : 188 * last + 3] = (0x177 | begins).to_bytes(2)
    path = tmp_path / "broadcast.ts"
    path.write_bytes(content)
    assert numbers_in(read(path, ALL).frames)[:48] == list(range(48))


# An edit list at its place: version 0, one entry of duration, media time and rate.
_HEAD = b"elst" + struct.pack(">II", 0, 1)
REORDERED = Recipe(frames=50, rate=25, options=(("bf", "2"),))


def with_edit(clip: Path, path: Path, duration: int, media_time: int) -> Path:
    """Copy a clip with other numbers in its edit list, which is of movie and media units."""
    content = bytearray(clip.read_bytes())
    place = content.index(_HEAD) + len(_HEAD)
    assert content.count(_HEAD) == 1
    content[place : place + 8] = struct.pack(">Ii", duration, media_time)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("duration", "media_time"), [(0, 0), (0, 1024), (2000, -1), (2000, 1_000_000)]
)
def test_a_list_that_shows_nothing(
    make_clip: MakeClip, tmp_path: Path, duration: int, media_time: int
) -> None:
    path = with_edit(make_clip(REORDERED).path, tmp_path / "clip.mp4", duration, media_time)
    with pytest.raises(VideoError, match="ignore_editlist 1"):
        read(path)


def test_another_list_holds(make_clip: MakeClip, tmp_path: Path) -> None:
    path = with_edit(make_clip(REORDERED).path, tmp_path / "clip.mp4", 1000, 12800 + 1024)
    clip = read(path, Sampling(frames=50))
    assert numbers_in(clip.frames) == [*range(25, 50)]
    assert clip.warnings == ()


def test_a_list_that_multiplies_the_frames(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its entries adds the frames of the file to the index."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_edits(make_clip(Recipe(frames=12)).path, 99))
    with av.open(str(path)) as container:
        entries = len(container.streams.video[0].index_entries)
    assert 1000 < entries <= 12 * 100
    monkeypatch.setattr(limits, "MAX_ENTRIES", entries)
    assert len(read(path, Sampling(frames=2)).frames) == 2
    monkeypatch.setattr(limits, "MAX_ENTRIES", entries - 1)
    with pytest.raises(VideoError, match=f"has more than {entries - 1:,} entries: convert it"):
        read(path)
