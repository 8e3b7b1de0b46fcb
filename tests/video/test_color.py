"""Colours by the books: expected RGB comes from the definition of each matrix, not from FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.video import Sampling
from tests.video.clips import Recipe, numbers_in, write_pictures, write_yuv
from tests.video.conftest import MakeClip
from tests.video.inside import probe, read

# Weights of red and blue in luma (ITU-R BT.601, BT.709, BT.2020), and the matrix's H.273 number.
WEIGHTS = {"ITU601": (0.299, 0.114), "ITU709": (0.2126, 0.0722), "BT2020": (0.2627, 0.0593)}
NUMBERS = {"ITU601": 6, "ITU709": 1, "BT2020": 9}
LIMITED, FULL = 1, 2
STORED = [(120, 100, 170), (63, 102, 220), (200, 140, 90), (130, 180, 110)]


def rgb_by_definition(
    yuv: tuple[int, int, int], matrix: str, full: bool, bits: int = 8
) -> np.ndarray:
    red, blue = WEIGHTS[matrix]
    scale = 2 ** (bits - 8)
    if full:
        y = yuv[0] / (2**bits - 1)
        u, v = ((value - 128 * scale) / (2**bits - 1) for value in yuv[1:])
    else:
        y = (yuv[0] - 16 * scale) / (219 * scale)
        u, v = ((value - 128 * scale) / (224 * scale) for value in yuv[1:])
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.array([r, g, b]) * 255, 0, 255)


def assert_colour(path: Path, expected: np.ndarray) -> None:
    frames = read(path).frames
    assert len(frames) == 3
    np.testing.assert_allclose(
        frames.reshape(-1, 3), np.tile(expected, (frames[..., 0].size, 1)), atol=3
    )


@pytest.mark.parametrize("matrix", list(WEIGHTS))
@pytest.mark.parametrize("range_", [LIMITED, FULL])
@pytest.mark.parametrize("yuv", STORED)
def test_tagged_matrix_and_range(
    tmp_path: Path, matrix: str, range_: int, yuv: tuple[int, int, int]
) -> None:
    path = write_yuv(tmp_path / "a.mp4", yuv, colorspace=NUMBERS[matrix], color_range=range_)
    assert_colour(path, rgb_by_definition(yuv, matrix, range_ == FULL))
    info = probe(path)
    assert (info.matrix, info.full_range) == (matrix, range_ == FULL)


@pytest.mark.parametrize(("size", "matrix"), [((320, 240), "ITU601"), ((1280, 720), "ITU709")])
def test_untagged_matrix_is_that_of_the_size(
    tmp_path: Path, size: tuple[int, int], matrix: str
) -> None:
    path = write_yuv(tmp_path / "a.mp4", STORED[0], size=size)
    assert_colour(path, rgb_by_definition(STORED[0], matrix, False))


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p10le", "yuv422p10le"])
def test_ten_bits(tmp_path: Path, pix_fmt: str) -> None:
    path = write_yuv(
        tmp_path / "a.mp4", (481, 403, 683), pix_fmt=pix_fmt, colorspace=9, color_range=LIMITED
    )
    assert_colour(path, rgb_by_definition((481, 403, 683), "BT2020", False, bits=10))
    assert (probe(path).bit_depth, probe(path).pixel_format) == (10, pix_fmt)


def test_ten_bits_full_range(tmp_path: Path) -> None:
    # Unlike yuvj420p, this format's name doesn't tell the range: only the tag does.
    stored = (481, 403, 683)
    path = write_yuv(
        tmp_path / "a.mp4", stored, pix_fmt="yuv420p10le", colorspace=1, color_range=FULL
    )
    assert_colour(path, rgb_by_definition(stored, "ITU709", True, bits=10))
    assert probe(path).full_range


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv422p", "yuvj420p"])
def test_other_layouts(tmp_path: Path, pix_fmt: str) -> None:
    full = pix_fmt.startswith("yuvj")
    path = write_yuv(
        tmp_path / "a.mp4",
        STORED[1],
        pix_fmt=pix_fmt,
        colorspace=1,
        color_range=FULL if full else LIMITED,
    )
    assert_colour(path, rgb_by_definition(STORED[1], "ITU709", full))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (33, 17), (2, 2)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_yuv(
        tmp_path / "a.mp4", STORED[0], pix_fmt="yuv444p", size=size, colorspace=6, color_range=1
    )
    assert read(path).frames.shape == (3, size[1], size[0], 3)
    assert_colour(path, rgb_by_definition(STORED[0], "ITU601", False))


def test_hdr_is_read_with_a_warning(tmp_path: Path) -> None:
    path = write_yuv(
        tmp_path / "a.mp4",
        (481, 512, 512),
        pix_fmt="yuv420p10le",
        colorspace=9,
        color_range=LIMITED,
        color_trc=16,
    )
    clip = read(path)
    assert clip.info.hdr
    assert any("is an HDR video: its colours are not tone-mapped" in w for w in clip.warnings)


def test_rgb_keeps_its_values(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    frames = read(write_pictures(tmp_path / "a.mp4", [picture] * 2)).frames
    np.testing.assert_array_equal(frames[1], picture)


@pytest.mark.parametrize("pix_fmt", ["rgba", "gray", "gray16be", "rgb24", "rgb48be"])
def test_alpha_and_grey_keep_their_values(tmp_path: Path, pix_fmt: str) -> None:
    grey = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], 3, axis=2)
    picture = np.repeat(grey, 16, axis=0)
    path = write_pictures(tmp_path / "a.mov", [picture] * 2, codec="png", pix_fmt=pix_fmt)
    np.testing.assert_allclose(read(path).frames[0], picture, atol=1)


def test_gif(make_clip: MakeClip) -> None:
    clip = make_clip(Recipe(suffix=".gif", codec="gif", pix_fmt="rgb8", frames=20, rate=10))
    assert numbers_in(read(clip.path, Sampling(frames=20)).frames) == list(range(20))


@pytest.mark.parametrize(("aspect", "size"), [((4, 3), (43, 16)), ((1, 2), (32, 32))])
def test_pixels_that_arent_square_are_stretched(
    tmp_path: Path, aspect: tuple[int, int], size: tuple[int, int]
) -> None:
    def shape(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)

    picture = np.full((16, 32, 3), 90, np.uint8)
    clip = read(write_pictures(tmp_path / "a.mkv", [picture] * 2, prepare=shape))
    assert (clip.info.width, clip.info.height) == size
    assert clip.frames.shape[1:3] == (size[1], size[0])
    np.testing.assert_allclose(clip.frames, 90, atol=1)
