"""Clips that can be read, and that something is the matter with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.video.clips import Recipe, write_coded, write_pictures

_INDEX_FIRST = (("movflags", "faststart"),)
_FRAGMENTED = (("movflags", "frag_keyframe+empty_moov"),)


def _half(path: Path, recipe: Recipe) -> None:
    write_coded(path, recipe)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _damaged(path: Path) -> None:
    write_coded(path, Recipe(gop=1, container_options=_INDEX_FIRST))
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(content)


def _one_pixel(path: Path) -> None:
    write_pictures(path, [np.full((1, 1, 3), 200, np.uint8)] * 3)


def _coded(recipe: Recipe) -> Callable[[Path], object]:
    return lambda path: write_coded(path, recipe)


ODD: dict[str, Callable[[Path], object]] = {
    "a packet is damaged.mp4": _damaged,
    "cut, index first.mp4": lambda path: _half(path, Recipe(container_options=_INDEX_FIRST)),
    "cut.webm": lambda path: _half(path, Recipe(codec="libvpx")),
    "cut.ts": lambda path: _half(path, Recipe()),
    "fragmented.mp4": _coded(Recipe(container_options=_FRAGMENTED)),
    "uneven.mkv": _coded(Recipe(times_ms=(0, 10, 200, 900, 910, 2000))),
    "one frame.mp4": _coded(Recipe(frames=1)),
    "two frames.mkv": _coded(Recipe(frames=2)),
    "one pixel.mp4": _one_pixel,
    "pictures.gif": _coded(Recipe(codec="gif", pix_fmt="rgb8", frames=6, rate=5)),
    "10 bits.mkv": _coded(Recipe(pix_fmt="yuv420p10le")),
    "with sound.mkv": _coded(Recipe(sound_s=2.0)),
    "-dash first.mp4": _coded(Recipe()),
    "smile \N{GRINNING FACE}.mp4": _coded(Recipe()),
    "two\nlines.mp4": _coded(Recipe()),
    "escape \x1b[2J.mp4": _coded(Recipe()),
    "brackets [red] ** ?.mp4": _coded(Recipe()),
}
"""What makes each, by its name."""
