"""Frames of a script: shapes as signed distance functions, background tiles, cards, in RGB."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dycoke_cli.shapes.script import COLOURS, Event, Script, Track, at, track

# No shape reaches further from its centre than this many radii.
REACH = 1.5
# Brightness of each tone of a background, 0-255.
LEVELS = {"black": 16.0, "gray": 128.0, "white": 240.0}
# Side of the card and height of its font, in sides of the picture.
CARD, FONT = 0.27, 0.25
PAPER, INK, EDGE = (250, 250, 250), (20, 20, 20), (20, 20, 20)  # equivalent: nobody sees a level
# Cards are drawn at this multiple of their size and scaled down, which anti-aliases the glyph.
OVERSAMPLING = 4


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - 1.0


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.88


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Corners (0, -1.1) and (±1.05, 0.85): a bottom edge and two slanted ones.
    normal = np.hypot(1.95, 1.05)
    slanted = (np.abs(x) * 1.95 - (y + 1.1) * 1.05) / normal
    return np.maximum(slanted, y - 0.85)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across = np.maximum(np.abs(x) - 1.05, np.abs(y) - 0.34)
    upright = np.maximum(np.abs(x) - 0.34, np.abs(y) - 1.05)
    return np.minimum(across, upright)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Fold the plane onto half a ray of the star, where its outline is one straight edge from the
    # tip (outer, 0) to the notch (inner at 36 degrees).
    outer, inner, fold = 1.15, 0.5, np.pi / 5
    angle = np.abs((np.arctan2(x, -y) + fold) % (2 * fold) - fold)
    length = np.sqrt(x * x + y * y)
    along, aside = length * np.cos(angle), length * np.sin(angle)
    ex, ey = inner * np.cos(fold) - outer, inner * np.sin(fold)
    return ((along - outer) * ey - aside * ex) / np.hypot(ex, ey)


OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}


def tile(tone: str, texture: str, contrast: float, seed: int, size: int) -> np.ndarray:
    """One period of a background: [size, size, 1] float32, 0-255, periodic in both directions.

    Args:
        contrast: how far the texture goes from the tone, in steps of 1/255.
    """
    rng = np.random.default_rng(seed)
    line = (np.arange(size) + 0.5) / size
    if texture == "plain":
        pattern = np.zeros((size, size))
    elif texture == "clouds":
        # Interpolated within 3x3 copies, of which the middle is cut out: that makes it periodic.
        grid = rng.uniform(0, 1, size=(6, 6))
        wide = np.tile(grid, (3, 3)).astype(np.float32)
        picture = Image.fromarray(wide).resize((3 * size, 3 * size), Image.Resampling.BICUBIC)
        pattern = np.asarray(picture)[size : 2 * size, size : 2 * size]
    else:
        waves = rng.integers(2, 5, size=2)
        phase = rng.uniform(0, 1, size=2)
        x = np.sin(2 * np.pi * (line[None] * waves[0] + phase[0]))
        y = np.sin(2 * np.pi * (line[:, None] * waves[1] + phase[1]))
        stripes = x if rng.random() < 0.5 else y
        wave = x * y if texture == "checks" else np.broadcast_to(stripes, (size, size))
        pattern = np.clip(wave * 4, -0.5, 0.5) + 0.5
    # Towards the middle of the scale, so that the texture isn't clipped on black or white.
    away = -1.0 if LEVELS[tone] > 128 else 1.0
    return (LEVELS[tone] + away * contrast * pattern)[..., None].astype(np.float32)


def scrolled(picture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Tile shifted by [2] (x, y) sides, with wrap-around, to the nearest pixel."""
    size = len(picture)
    x, y = (round(float(s) * size) for s in shift)
    return np.roll(picture, (y, x), axis=(0, 1))


@lru_cache(maxsize=256)
def card(glyph: str, size: int) -> np.ndarray:
    """Card with a glyph, for frames of `size` pixels: [side, side, 3] float32."""
    side = max(6, round(CARD * size))
    large = side * OVERSAMPLING
    picture = Image.new("RGB", (large, large), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, large - 1, large - 1), outline=EDGE, width=max(1, large // 16))
    font = ImageFont.load_default(round(FONT * size * OVERSAMPLING))
    pen.text(
        (large / 2, large / 2),
        glyph,
        fill=INK,
        font=font,
        anchor="mm",
        stroke_width=large // 40,
        stroke_fill=INK,
    )
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.float32)


RGB = {
    "red": (220, 30, 35),
    "orange": (255, 140, 0),
    "yellow": (250, 230, 50),
    "green": (30, 160, 60),
    "blue": (40, 80, 225),
    "purple": (150, 50, 185),
}
PALETTE = np.array([RGB[c] for c in COLOURS], dtype=np.float32)
SHAKES_PER_SECOND = (1.1, 1.9, 2.7)


def render(script: Script, times: np.ndarray, size: int, *, softness: float = 1.0) -> np.ndarray:
    """Render frames of a script.

    Args:
        times: [F] float, 0-1.
        softness: width of an edge in pixels; 1 is plain anti-aliasing.

    Returns:
        [F, size, size, 3] uint8, RGB.
    """
    jumps = shake(script, times)
    frames = _backdrop(script, times, jumps, size)
    for i in _back_to_front(script):
        thing = track(script, i, times)
        _paint(frames, script.things[i].shape, thing, jumps, size, softness)
    for event in script.events:
        if event.deed == "show":
            _put_card(frames, event, times, jumps, size)
    if script.camera.noise > 0:
        # Seeded by the frame's time, so that a frame doesn't depend on which others are rendered.
        for frame, time in zip(frames, times, strict=True):
            rng = np.random.default_rng([script.seed, int(time * 1e6)])
            frame += rng.normal(0, script.camera.noise, frame.shape).astype(np.float32)
    return np.clip(frames + 0.5, 0, 255).astype(np.uint8)


def shake(script: Script, times: np.ndarray) -> np.ndarray:
    """Camera shake at each time: [F] -> [F, 2] offset (x, y) in sides."""
    rng = np.random.default_rng(script.seed)
    phases = rng.uniform(0, 2 * np.pi, size=(2, len(SHAKES_PER_SECOND)))
    seconds = times[:, None, None] * script.seconds
    waves = np.sin(2 * np.pi * np.array(SHAKES_PER_SECOND) * seconds + phases)
    return script.camera.shake * waves.mean(-1) * 1.5


def _backdrop(script: Script, times: np.ndarray, jumps: np.ndarray, size: int) -> np.ndarray:
    frames = np.empty((len(times), size, size, 3), dtype=np.float32)
    pan = np.array(script.camera.pan)
    for scene in script.scenes:
        picture = tile(scene.tone, scene.texture, scene.contrast, scene.seed, size)
        for f in np.flatnonzero(scene.covers(times)):
            frames[f] = scrolled(picture, jumps[f] + pan * times[f])
    return frames


def _back_to_front(script: Script) -> list[int]:
    """Paint order of the things; one that hides is painted first."""
    hiders = {e.thing for e in script.events if e.deed == "hide"}
    return sorted(range(len(script.things)), key=lambda i: i not in hiders)


def _paint(
    frames: np.ndarray, shape: str, thing: Track, jumps: np.ndarray, size: int, softness: float
) -> None:
    shown = np.flatnonzero(thing.visible)
    if not len(shown):
        return
    centres = (thing.centres[shown] + jumps[shown]) * size
    radius = thing.radius[shown].astype(np.float32) * size
    half = int(np.ceil(radius.max() * REACH + softness))
    corner = np.floor(centres).astype(int) - half
    side = np.arange(2 * half + 2)
    # Distances are computed in a window around the thing only, [F, window, window]: it covers a
    # small part of the frame.
    x = (corner[:, 0, None] + side + 0.5 - centres[:, 0, None]).astype(np.float32)
    y = (corner[:, 1, None] + side + 0.5 - centres[:, 1, None]).astype(np.float32)
    x, y = x[:, None, :] / radius[:, None, None], y[:, :, None] / radius[:, None, None]
    angle = thing.angle[shown].astype(np.float32)
    if angle.any():
        cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        x, y = x * cos + y * sin, y * cos - x * sin
    # Signed distance to the outline in pixels; the edge is a linear ramp `softness` pixels wide.
    distance = OUTLINES[shape](x, y) * radius[:, None, None]
    cover = np.clip(0.5 - distance / softness, 0, 1)[..., None]
    blend = thing.blend[shown, None]
    paint = PALETTE[thing.before] * (1 - blend) + PALETTE[thing.after] * blend
    for k, f in enumerate(shown):
        left, top = corner[k]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + len(side), size), min(top + len(side), size)
        if x0 >= x1 or y0 >= y1:
            continue
        mask = cover[k, y0 - top : y1 - top, x0 - left : x1 - left]
        window = frames[f, y0:y1, x0:x1]
        window += mask * (paint[k].astype(np.float32) - window)


def _put_card(
    frames: np.ndarray, event: Event, times: np.ndarray, jumps: np.ndarray, size: int
) -> None:
    assert event.cell is not None
    picture = card(event.glyph, size)
    side = len(picture)
    for f in np.flatnonzero((times >= event.begin) & (times < event.finish)):
        left, top = np.round((at(event.cell, (0, 0)) + jumps[f]) * size - side / 2).astype(int)
        left, top = (int(np.clip(v, 0, size - side)) for v in (left, top))
        frames[f, top : top + side, left : left + side] = picture
