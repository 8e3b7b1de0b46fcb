"""Turned and mirrored videos: the pixels are turned as a player would show them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from dycoke_cli.video import Sampling
from dycoke_cli.video.color import Orientation
from tests.video.clips import write_pictures
from tests.video.inside import probe, read

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (230, 230, 230)
# Stored corners: red green / blue white. Shown corners, row by row, worked out by hand.
UPRIGHT = (RED, GREEN, BLUE, WHITE)
CLOCKWISE = {
    0: UPRIGHT,
    90: (BLUE, RED, WHITE, GREEN),
    180: (WHITE, BLUE, GREEN, RED),
    270: (GREEN, WHITE, RED, BLUE),
}
# Mirrored left-right first: green red / white blue. Then turned clockwise.
MIRRORED = {
    0: (GREEN, RED, WHITE, BLUE),
    90: (WHITE, GREEN, BLUE, RED),
    180: (BLUE, WHITE, RED, GREEN),
    270: (RED, BLUE, GREEN, WHITE),
}


def corners_picture(
    corners: tuple[tuple[int, int, int], ...], height: int, width: int
) -> np.ndarray:
    grid = np.array(corners, np.uint8).reshape(2, 2, 3)
    return np.repeat(np.repeat(grid, height // 2, axis=0), width // 2, axis=1)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_every_orientation_is_shown_upright(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    def turn(stream: av.VideoStream) -> None:
        # PyAV takes counterclockwise degrees and mirrors after the turn: a turn, then a left-right
        # mirror, is the mirror first and then the opposite turn.
        stream.set_display_rotation(degrees if mirrored else -degrees, hflip=mirrored)

    stored = corners_picture(UPRIGHT, 20, 32)
    path = write_pictures(tmp_path / "turned.mp4", [stored] * 3, prepare=turn)
    clip = read(path)
    shown = (MIRRORED if mirrored else CLOCKWISE)[degrees]
    height, width = (32, 20) if degrees in (90, 270) else (20, 32)
    np.testing.assert_allclose(clip.frames[1], corners_picture(shown, height, width), atol=2)
    assert (clip.info.rotation_deg, clip.info.mirrored) == (degrees, mirrored)
    assert (clip.info.width, clip.info.height) == (width, height)
    assert (probe(path).width, probe(path).height) == (width, height)


@pytest.mark.parametrize(
    ("name", "degrees"),
    [
        ("upright.mov", 0),
        ("rotated_90.mov", 90),
        ("rotated_270.mov", 270),
        ("fire_vfr_rotated.mp4", 180),
    ],
)
def test_real_phone_videos(real_video: Callable[[str], Path], name: str, degrees: int) -> None:
    path = real_video(name)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
        picture = stored.to_ndarray(format="rgb24", src_colorspace="ITU709")
        assert stored.rotation % 360 == -degrees % 360  # FFmpeg's own reading, counterclockwise
    clip = read(path, Sampling(frames=2))
    assert clip.info.rotation_deg == degrees
    np.testing.assert_allclose(clip.frames[0], np.rot90(picture, k=-degrees // 90), atol=3)


def test_matrix_that_isnt_a_quarter_turn_is_taken_as_the_nearest() -> None:
    def matrix(degrees: float) -> bytes:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        values = np.array([cosine, sine, 0, -sine, cosine, 0, 0, 0, 1]) * 65536
        return values.astype(np.int32).tobytes()

    assert Orientation.from_matrix(matrix(0.3)) == Orientation()
    assert Orientation.from_matrix(matrix(85)).rotation_deg == 90
    assert Orientation.from_matrix(matrix(-85)).rotation_deg == 270
    assert Orientation.from_matrix(matrix(170)).rotation_deg == 180


@pytest.mark.parametrize("matrix", [None, b"", b"\0" * 36, b"\1" * 7])
def test_no_or_broken_matrix_is_upright(matrix: bytes | None) -> None:
    assert Orientation.from_matrix(matrix) == Orientation()


@pytest.mark.parametrize("tag", [1, 3, 6, 8])  # the EXIF tag of the four turns
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_photo_with_exif(tmp_path: Path, suffix: str, tag: int) -> None:
    # PyAV has no name for what FFmpeg keeps of EXIF beside the picture.
    exif = Image.Exif()
    exif[0x112] = tag
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(corners_picture(UPRIGHT, 20, 32)).save(path, exif=exif)
    clip = read(path)
    np.testing.assert_array_equal(clip.frames[0], ImageOps.exif_transpose(Image.open(path)))


def test_rotation_is_the_nearest_quarter_turn() -> None:
    for degrees in (-180, -90, 0, 90, 180, -3, 100):
        counterclockwise = round(degrees / 90) * 90
        assert Orientation.from_rotation(degrees).rotation_deg == -counterclockwise % 360
        assert not Orientation.from_rotation(degrees).mirrored
