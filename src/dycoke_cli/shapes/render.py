"""Rendering of a script at given times into RGB frames."""

from __future__ import annotations

import numpy as np

from dycoke_cli.shapes.elements import OUTLINES, REACH, card, scrolled, tile
from dycoke_cli.shapes.motion import Track, at, track
from dycoke_cli.shapes.script import COLOURS, Event, Script

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
