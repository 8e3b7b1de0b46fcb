"""MP4 whose edit list shows no picture: browsers play it without the list."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.video import Sampling
from tests.video.clips import Recipe, numbers_in
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
