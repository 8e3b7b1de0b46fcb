"""Colours, transparency and what a picture is turned to."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from dycoke_cli.video.color import Orientation, opaque, over_white
from dycoke_cli.video.sampling import Sampling
from tests.video.clips import write_pictures, write_rgba, write_yuv
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


def check_colour(
    folder: Path, yuv: tuple[int, int, int], matrix: str, full: bool, **stored: Any
) -> None:
    """Check that a video of one colour is read as its definition has it."""
    frames = read(write_yuv(folder / "a.mp4", yuv, **stored)).frames
    width, height = stored.get("size", (32, 16))
    assert frames.shape == (3, height, width, 3)
    bits = 10 if "10" in stored.get("pix_fmt", "") else 8
    expected = rgb_by_definition(yuv, matrix, full, bits)
    np.testing.assert_allclose(frames, np.broadcast_to(expected, frames.shape), atol=3)


@pytest.mark.parametrize("matrix", list(WEIGHTS))
@pytest.mark.parametrize("range_", [LIMITED, FULL])
@pytest.mark.parametrize("yuv", STORED)
def test_tagged_matrix_and_range(
    tmp_path: Path, matrix: str, range_: int, yuv: tuple[int, int, int]
) -> None:
    tags = {"colorspace": NUMBERS[matrix], "color_range": range_}
    check_colour(tmp_path, yuv, matrix, range_ == FULL, **tags)


@pytest.mark.parametrize(
    ("size", "matrix"), [((320, 240), "ITU601"), ((64, 720), "ITU709"), ((1280, 8), "ITU709")]
)
def test_untagged_matrix_is_that_of_the_size(
    tmp_path: Path, size: tuple[int, int], matrix: str
) -> None:
    check_colour(tmp_path, STORED[0], matrix, False, size=size)


TEN_BITS = (481, 403, 683)


@pytest.mark.parametrize(
    ("pix_fmt", "yuv", "matrix", "full"),
    [
        *((f"{name}10le", TEN_BITS, "BT2020", False) for name in ("yuv420p", "yuv444p", "yuv422p")),
        # Unlike yuvj420p, this format's name doesn't tell the range: only the tag does.
        ("yuv420p10le", TEN_BITS, "ITU709", True),
        ("yuv444p", STORED[1], "ITU709", False),
        ("yuv422p", STORED[1], "ITU709", False),
        ("yuvj420p", STORED[1], "ITU709", True),
    ],
)
def test_ten_bits_and_other_layouts(
    tmp_path: Path, pix_fmt: str, yuv: tuple[int, int, int], matrix: str, full: bool
) -> None:
    tags = {"colorspace": NUMBERS[matrix], "color_range": FULL if full else LIMITED}
    check_colour(tmp_path, yuv, matrix, full, pix_fmt=pix_fmt, **tags)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (33, 17), (2, 2)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    tags = {"colorspace": NUMBERS["ITU601"], "color_range": LIMITED}
    check_colour(tmp_path, STORED[0], "ITU601", False, pix_fmt="yuv444p", size=size, **tags)


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


SIZE = WIDTH, HEIGHT = 64, 48


def drawing(number: int) -> Image.Image:
    """A black ring and a half transparent red disc on a transparent ground, whose colour is 0."""
    picture = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((4 + 2 * number, 4, 24 + 2 * number, 24), outline=(0, 0, 0, 255), width=6)
    draw.rectangle((32, 24, 55, 39), fill=(200, 0, 0, 128))
    return picture


DRAWINGS = [drawing(number) for number in range(8)]
DRAWN = [np.asarray(one) for one in DRAWINGS]


def on_white(picture: Image.Image) -> np.ndarray:
    """By Pillow, whose rounding may be another."""
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))


# Container, codec, pixel format, and the difference that its coding makes.
CODED = {
    "APNG": ("a.apng", "apng", "rgba", 1),
    "QuickTime RLE": ("a.mov", "qtrle", "argb", 1),
    "ProRes 4444": ("a.mov", "prores_ks", "yuva444p10le", 40),
    "PNG in QuickTime": ("a.mov", "png", "rgba", 1),
    "FFV1": ("a.mkv", "ffv1", "yuva444p", 3),
    "FFV1, RGB": ("a.mkv", "ffv1", "bgra", 1),
    "Ut Video": ("a.avi", "utvideo", "gbrap", 1),
}


@pytest.mark.parametrize("name", list(CODED))
def test_every_codec_with_transparency_is_on_white(name: str, tmp_path: Path) -> None:
    file, codec, pix_fmt, difference = CODED[name]
    path = write_rgba(tmp_path / file, codec, pix_fmt, DRAWN)
    clip = read(path, Sampling(frames=8))
    expected = np.stack([on_white(one) for one in DRAWINGS])
    np.testing.assert_allclose(clip.frames.astype(int), expected, atol=difference)
    # Coding with fewer samples of colour blurs edges; elsewhere the values are right.
    assert np.abs(clip.frames.astype(int) - expected).mean() < 2
    assert clip.warnings == ()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.png", "RGBA"), ("a.png", "LA"), ("a.png", "P"), ("a.webp", "RGBA"), ("a.tiff", "RGBA"),
        ("a.bmp", "RGBA"), ("a.ico", "RGBA"), ("key.png", "RGB"), ("key.png", "L"),
    ],
)  # fmt: skip
def test_pictures_with_transparency(name: str, mode: str, tmp_path: Path) -> None:
    drawn = DRAWINGS[0].convert(mode) if mode != "P" else DRAWINGS[0].quantize(16)
    options: dict[str, object] = {"lossless": True} if name == "a.webp" else {}
    if name == "key.png":  # one colour is transparent
        drawn = Image.new(mode, SIZE)
        drawn.paste(9 if mode == "L" else (9, 9, 9), (20, 10, 40, 30))
        options["transparency"] = 0 if mode == "L" else (0, 0, 0)
    if name == "a.ico":
        options["sizes"] = [SIZE]
    path = tmp_path / name
    drawn.save(path, **options)
    clip = read(path)
    with Image.open(path) as opened:
        # Pillow reads no transparency from BMP.
        expected = on_white(drawn if name == "a.bmp" else opened)
    np.testing.assert_allclose(clip.frames[0].astype(int), expected, atol=1)
    assert clip.warnings == ()


def test_every_colour_and_alpha_by_hand() -> None:
    colours, alphas = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    rgba = np.stack([colours, colours, colours, alphas], -1)
    blended = np.empty_like(rgba[..., :3])
    over_white(rgba, blended)
    for alpha in (0, 1, 2, 127, 128, 200, 254, 255):
        for colour in (0, 1, 77, 128, 254, 255):
            exact = Fraction(colour * alpha + 255 * (255 - alpha), 255)
            assert blended[alpha, colour].tolist() == [round(exact)] * 3
    for first in (254, 255):
        frame = av.VideoFrame.from_ndarray(rgba[first:], "rgba")
        assert (opaque(frame) is frame) == (first == 255)


def test_opaque_pictures_are_as_without_alpha(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    picture = Image.fromarray(noise)
    path = write_rgba(
        tmp_path / "a.mov", "qtrle", "argb", [np.asarray(picture.convert("RGBA"))] * 2
    )
    clip = read(path)
    np.testing.assert_array_equal(clip.frames[1], noise)
    assert clip.warnings == ()


def test_a_gif_is_white_without_a_word(tmp_path: Path) -> None:
    ring = Image.new("P", SIZE, 1)
    ring.putpalette([0, 0, 0, 0, 0, 0])
    ImageDraw.Draw(ring).ellipse((10, 10, 40, 40), fill=0)
    ring.save(tmp_path / "a.gif", save_all=True, append_images=[ring] * 2, transparency=1)
    clip = read(tmp_path / "a.gif", Sampling(frames=2))
    assert clip.frames[0, 0, 0].tolist() == [255] * 3
    assert clip.frames[0, 25, 25].tolist() == [0] * 3
    assert clip.warnings == ()


def test_uncompressed_avi_has_no_transparency_if_it_has_nothing_else(tmp_path: Path) -> None:
    """Programs that write it in 32 bits leave the last 8 at zero."""
    blank = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    blank[..., :3] = np.arange(WIDTH, dtype=np.uint8)[None, :, None]
    path = write_rgba(tmp_path / "a.avi", "rawvideo", "bgra", [blank] * 2)
    clip = read(path)
    np.testing.assert_array_equal(clip.frames[1], blank[..., :3])
    assert clip.warnings == ()
    # An empty frame of an animation is white.
    clip = read(write_rgba(tmp_path / "a.mov", "qtrle", "argb", [blank] * 2))
    assert (clip.frames == 255).all()


def test_colours_under_transparency_dont_bleed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White beside transparent red stays white when it is scaled, whatever scales it."""
    red = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    red[..., 0] = 255
    red[:, ::3] = 255
    pictures = [red] * 2
    aspect = Fraction(4, 3)
    path = write_rgba(tmp_path / "a.mov", "png", "rgba", pictures, sample_aspect_ratio=aspect)
    clip = read(path)
    assert clip.frames.shape == (2, HEIGHT, round(WIDTH * aspect), 3)
    assert (clip.frames == 255).all()
    monkeypatch.setattr("dycoke_cli.video.limits.MAX_KEPT_PIXELS", 1000)
    clip = read(path)
    assert (clip.frames == 255).all()


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

FOUR = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


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
    assert (clip.info.width, clip.info.height) == (width, height)
    assert (probe(path).width, probe(path).height) == (width, height)


def test_matrix_that_isnt_a_quarter_turn_is_taken_as_the_nearest() -> None:
    def matrix(degrees: float) -> bytes:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        values = np.array([cosine, sine, 0, -sine, cosine, 0, 0, 0, 1]) * 65536
        return values.astype(np.int32).tobytes()

    assert Orientation.from_matrix(matrix(0.3)) == Orientation()
    for degrees, quarters in ((85, -1), (-85, 1), (170, 2)):
        shown = Orientation.from_matrix(matrix(degrees)).apply(FOUR)
        assert np.array_equal(shown, np.rot90(FOUR, quarters))


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
    for degrees in (-180, -90, 0, 90, 180, -3, 136):
        shown = Orientation.from_rotation(degrees).apply(FOUR)
        assert np.array_equal(shown, np.rot90(FOUR, round(degrees / 90)))
