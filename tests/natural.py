"""Natural clips, rendered from scikit-image's own sample pictures: nothing of them is shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dycoke_cli.video.subtitles import Subtitles


@dataclass(frozen=True)
class Pictures:
    """Frames with their times, as the engine wants a video."""

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    subtitles: Subtitles | None = None

    @classmethod
    def of(cls, frames: np.ndarray) -> Pictures:
        """Four frames a second."""
        return cls(frames, tuple(i / 4 for i in range(len(frames))))


def _samples() -> Any:
    from skimage import data  # not everybody who wants `Pictures` has it

    return data


def pan(frames: int, size: int = 128) -> np.ndarray:
    """A camera that moves over a portrait: `[F, size, size, 3]`, uint8."""
    picture = _samples().astronaut()
    return np.stack([picture[6 * i : 6 * i + size, 5 * i : 5 * i + size] for i in range(frames)])


def zoom(frames: int, size: int = 128) -> np.ndarray:
    """A camera that closes in on a cup of coffee: `[F, size, size, 3]`, uint8."""
    picture = Image.fromarray(_samples().coffee())
    boxes = [(4 * i, 4 * i, 400 - 4 * i, 400 - 4 * i) for i in range(frames)]
    return np.stack([np.asarray(picture.crop(box).resize((size, size))) for box in boxes])


def cut(frames: int, size: int = 128) -> np.ndarray:
    """A still cat, then from the middle on a still rocket: `[F, size, size, 3]`, uint8."""
    data = _samples()
    cat, rocket = data.chelsea()[:size, 100 : 100 + size], data.rocket()[:size, 200 : 200 + size]
    return np.stack([cat if i < frames // 2 else rocket for i in range(frames)])


CLIPS: dict[str, Callable[[int], np.ndarray]] = {"pan": pan, "zoom": zoom, "cut": cut}
