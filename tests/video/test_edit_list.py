"""MP4 whose edit list shows no picture: browsers play it without the list."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.video import Sampling, limits
from dycoke_cli.video.file_layout import layout_of
from tests.video.clips import Recipe, numbers_in, with_edits
from tests.video.conftest import MakeClip
from tests.video.inside import read

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
    ("duration", "media_time"), [(0, 0), (0, 1024), (2000, -6400), (2000, -1), (2000, 1_000_000)]
)
def test_a_list_that_shows_nothing_is_left_out_aloud(
    make_clip: MakeClip, tmp_path: Path, duration: int, media_time: int
) -> None:
    coded = make_clip(REORDERED)
    path = with_edit(coded.path, tmp_path / "clip.mp4", duration, media_time)
    for sampling in (Sampling(frames=50), Sampling(frames=3), Sampling(start_s=1.0, end_s=1.5)):
        clip, whole = read(path, sampling), read(coded.path, sampling)
        assert numbers_in(clip.frames) == numbers_in(whole.frames)
        assert clip.timestamps_s == pytest.approx(whole.timestamps_s, abs=1e-6)
        assert clip.info.duration_s == 2
        assert clip.warnings == (
            f"{path} has an edit list that can't be followed (its duration is 0, its time is "
            "negative, or it shows nothing): it was read without the list",
        )


def test_another_list_holds(make_clip: MakeClip, tmp_path: Path) -> None:
    path = with_edit(make_clip(REORDERED).path, tmp_path / "clip.mp4", 1000, 12800 + 1024)
    clip = read(path, Sampling(frames=50))
    assert numbers_in(clip.frames) == [*range(25, 50)]
    assert clip.warnings == ()


def test_without_pictures_there_are_none_without_the_list(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    path = with_edit(make_clip(REORDERED).path, tmp_path / "clip.mp4", 0, 0)
    content = path.read_bytes()
    begin, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    path.write_bytes(content[:begin] + bytes(end - begin) + content[end:])
    with pytest.raises(VideoError, match="not one picture in it can be decoded"):
        read(path)


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


def test_lists_with_wide_fields_and_of_fragments() -> None:
    def box(kind: bytes, *content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)

    def track(number: int, *edits: tuple[int, int]) -> bytes:
        entries = b"".join(struct.pack(">Qqi", *edit, 65536) for edit in edits)
        return box(
            b"trak",
            box(b"tkhd", b"\1\0\0\7", bytes(16), struct.pack(">I", number), bytes(72)),
            box(b"edts", box(b"elst", b"\1\0\0\0", struct.pack(">I", len(edits)), entries)),
            box(b"mdia", box(b"mdhd", b"\1\0\0\0", bytes(16), struct.pack(">IQ", 1000, 5000))),
        )

    tracks = [track(1, (10, 0)), track(2, (0, 0)), track(3, (9, -5), (9, 0)), track(4, (9, 5000))]
    movie = box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(100)), *tracks)
    assert layout_of(io.BytesIO(movie)).hidden_tracks == {2, 3, 4}
    for cut in range(len(movie)):
        assert not layout_of(io.BytesIO(movie[:cut])).hidden_tracks
    fragmented = box(b"moov", box(b"mvex"), *tracks)
    assert not layout_of(io.BytesIO(fragmented)).hidden_tracks
