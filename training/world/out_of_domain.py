"""What is not of the model's world: pictures, textures, noise and text, seen by a moving camera.

Only training draws from here. The pictures are samples of scikit-image; where that isn't
installed, the procedural ones alone serve.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Samples that come with the package, without a download.
PICTURES = (
    "astronaut", "brick", "camera", "cat", "cell", "chelsea", "clock", "coffee", "coins",
    "colorwheel", "grass", "gravel", "hubble_deep_field", "horse", "immunohistochemistry", "logo",
    "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
WIDE = 192


def out_of_domain_clip(frames: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A clip of one to three shots of something else: [frames, size, size, 3] uint8."""
    shots = int(rng.choice([1, 1, 2, 3]))
    edges = sorted({0, frames, *rng.integers(0, frames + 1, size=shots - 1).tolist()})
    parts = []
    for begin, finish in pairwise(edges):
        source = SOURCES[int(rng.integers(len(SOURCES)))]
        parts.append(_shot(source(rng), finish - begin, size, rng))
    clip = np.concatenate(parts)
    if rng.random() < 0.3:
        clip = clip.mean(-1, keepdims=True).repeat(3, -1)
    gain, offset = rng.uniform(0.6, 1.3), rng.uniform(-30, 30)
    noise = rng.normal(0, rng.uniform(0, 8), clip.shape) if rng.random() < 0.4 else 0.0
    return np.clip(clip * gain + offset + noise, 0, 255).astype(np.uint8)


def _shot(picture: Image.Image, frames: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A camera that pans and zooms over a picture, with or without shake: [F, size, size, 3]."""
    width, height = picture.size
    widest = min(width, height)
    zoom = np.linspace(rng.uniform(0.35, 1.0), rng.uniform(0.35, 1.0), frames)
    if rng.random() < 0.25:
        zoom[:] = zoom[0]
    way = np.linspace(rng.uniform(0, 1, size=2), rng.uniform(0, 1, size=2), frames)
    if rng.random() < 0.3:
        way[:] = way[0]
    way = np.clip(way + rng.normal(0, rng.choice([0.0, 0.01, 0.03]), way.shape), 0, 1)
    found = []
    for z, (x, y) in zip(zoom, way, strict=True):
        side = widest * z
        left, top = x * (width - side), y * (height - side)
        box = (left, top, left + side, top + side)
        shot = picture.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        found.append(np.asarray(shot, dtype=np.float32))
    return np.stack(found)


@lru_cache(maxsize=1)
def _pictures() -> list[Image.Image]:
    try:
        from skimage import data
    except ImportError:
        return []
    found = []
    for name in PICTURES:
        try:
            picture = np.asarray(getattr(data, name)())
        except (AttributeError, OSError, ModuleNotFoundError):
            continue
        if picture.dtype == bool:
            picture = picture * np.uint8(255)
        if picture.dtype == np.uint8:
            image = Image.fromarray(picture).convert("RGB")
            image.thumbnail((2 * WIDE, 2 * WIDE))
            found.append(image)
    return found


def _photo(rng: np.random.Generator) -> Image.Image:
    pictures = _pictures()
    if not pictures:
        return _clouds(rng)
    picture = pictures[int(rng.integers(len(pictures)))]
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        picture = picture.rotate(float(rng.uniform(-30, 30)), Image.Resampling.BILINEAR)
    if rng.random() < 0.4:
        # Other colours: the three channels in another order.
        order = rng.permutation(3)
        picture = Image.fromarray(np.ascontiguousarray(np.asarray(picture)[..., order]))
    return picture


def _clouds(rng: np.random.Generator) -> Image.Image:
    """Coloured noise of all scales, as natural pictures have."""
    total = np.zeros((WIDE, WIDE, 3), dtype=np.float32)
    steep = rng.uniform(0.6, 1.6)
    for octave in range(1, 7):
        cells = 2**octave
        grid = rng.normal(0, 1, (cells + 1, cells + 1, 3)).astype(np.float32)
        layers = [
            np.asarray(Image.fromarray(grid[..., c]).resize((WIDE, WIDE), Image.Resampling.BICUBIC))
            for c in range(3)
        ]
        total += np.stack(layers, -1) / cells**steep
    total = total * rng.uniform(0.3, 1.2) / total.std() * 60
    return _image(total + rng.uniform(30, 220, size=3))


def _noise(rng: np.random.Generator) -> Image.Image:
    coarse = int(rng.choice([24, 48, 96, 192]))
    pixels = rng.uniform(0, 255, (coarse, coarse, 3))
    if rng.random() < 0.4:
        pixels[:] = pixels.mean(-1, keepdims=True)
    return _image(pixels).resize((WIDE, WIDE), Image.Resampling.NEAREST)


def _gradient(rng: np.random.Generator) -> Image.Image:
    corners = rng.uniform(0, 255, (2, 2, 3))
    return _image(corners).resize((WIDE, WIDE), Image.Resampling.BILINEAR)


def _bars(rng: np.random.Generator) -> Image.Image:
    """Test patterns: bars and grids of many colours."""
    columns, rows = int(rng.integers(3, 13)), int(rng.choice([1, 1, 2, 4, 9]))
    cells = rng.uniform(0, 255, (rows, columns, 3))
    return _image(cells).resize((WIDE, WIDE), Image.Resampling.NEAREST)


def _text(rng: np.random.Generator) -> Image.Image:
    """A page of letters, dark on light or light on dark."""
    paper, ink = (255, 0) if rng.random() < 0.5 else (0, 255)
    page = Image.new("RGB", (WIDE, WIDE), (paper,) * 3)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(int(rng.integers(9, 40)))
    letters = list(string.ascii_letters + string.digits + "     ")
    for top in range(0, WIDE, int(rng.integers(14, 48))):
        pen.text((4, top), "".join(rng.choice(letters, size=40)), fill=(ink,) * 3, font=font)
    return page


def _strokes(rng: np.random.Generator) -> Image.Image:
    """A heap of lines, ovals and boxes in any colour: shapes, but not the world's."""
    page = Image.new("RGB", (WIDE, WIDE), _colour(rng))
    pen = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(8, 60))):
        a, b = rng.integers(-20, WIDE + 20, size=2), rng.integers(4, 90, size=2)
        box = (int(a[0]), int(a[1]), int(a[0] + b[0]), int(a[1] + b[1]))
        draw = rng.integers(4)
        if draw == 0:
            pen.line(box, fill=_colour(rng), width=int(rng.integers(1, 9)))
        elif draw == 1:
            pen.ellipse(box, fill=_colour(rng))
        elif draw == 2:
            pen.rectangle(box, fill=_colour(rng))
        else:
            pen.arc(box, 0, int(rng.integers(90, 360)), fill=_colour(rng), width=3)
    return page


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in rng.integers(0, 256, size=3))
    return red, green, blue


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# Pictures take the largest share: what comes in is mostly what a camera saw.
SOURCES: tuple[Callable[[np.random.Generator], Image.Image], ...] = (
    _photo, _photo, _photo, _photo, _clouds, _clouds, _noise, _gradient, _bars, _text, _strokes,
)  # fmt: skip
