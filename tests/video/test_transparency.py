"""Transparent videos and pictures on white: compared with Pillow's compositing, and by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from dycoke_cli.video import Sampling
from dycoke_cli.video.color import is_opaque, over_white
from tests.video.clips import write_rgba
from tests.video.inside import read

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
    assert clip.warnings == (f"{path} is partly transparent: it is shown on white",)
    assert clip.info.pixel_format.startswith(("yuva", "gbra", "rgba", "argb", "bgra"))


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
    assert clip.warnings == (f"{path} is partly transparent: it is shown on white",)


def test_every_colour_and_alpha_by_hand() -> None:
    colours, alphas = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    rgba = np.stack([colours, colours, colours, alphas], -1)
    blended = np.empty_like(rgba[..., :3])
    over_white(rgba, blended)
    for alpha in (0, 1, 2, 127, 128, 200, 254, 255):
        for colour in (0, 1, 77, 128, 254, 255):
            exact = Fraction(colour * alpha + 255 * (255 - alpha), 255)
            assert blended[alpha, colour].tolist() == [round(exact)] * 3
    assert is_opaque(rgba[255:])
    assert not is_opaque(rgba[254:])


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
    monkeypatch.setattr("dycoke_cli.video.limits.MAX_HELD_PIXELS", 1000)
    monkeypatch.setattr("dycoke_cli.video.limits.MAX_KEPT_PIXELS", 1000)
    clip = read(path)
    assert (clip.frames == 255).all()
    assert any("partly transparent" in warning for warning in clip.warnings)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_webm_stores_transparency_apart(codec: str, tmp_path: Path) -> None:
    path = write_rgba(tmp_path / "a.webm", codec, "yuva420p", DRAWN)
    clip = read(path, Sampling(frames=8))
    assert len(clip.frames) == 8
    assert clip.warnings == (
        f"{path} has transparency that is stored apart and isn't read, so transparent parts have "
        "any colour: convert it to PNG, APNG or ProRes 4444",
    )


def test_avif_stores_transparency_in_another_stream(tmp_path: Path) -> None:
    if not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    for name, more in (("a.avif", []), ("b.avif", DRAWINGS[1:4])):
        path = tmp_path / name
        DRAWINGS[0].save(path, save_all=bool(more), append_images=more, duration=100)
        (warning,) = read(path).warnings
        assert "has transparency that is stored apart and isn't read" in warning
    DRAWINGS[0].convert("RGB").save(path)
    assert not read(path).warnings


def test_a_folder_says_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(DRAWINGS):
        picture.save(folder / f"{number}.png")
    clip = read(folder)
    np.testing.assert_allclose(clip.frames.astype(int), [on_white(one) for one in DRAWINGS], atol=1)
    assert clip.warnings == (f"{folder} is partly transparent: it is shown on white",)
    for number in (0, 2):
        DRAWINGS[0].convert("RGB").save(folder / f"{number}.png")
    assert read(folder, Sampling(end_s=3.0)).warnings == (
        f"{folder / '1.png'} is partly transparent: it is shown on white",
    )
