"""Blending of transparent frames over white, as browsers and most image viewers show them.

The colours of wholly transparent pixels are arbitrary, and mostly black. Without blending a black
drawing on a transparent ground would be a black frame.
"""

from __future__ import annotations

import av
import numpy as np

# Rows that are blended at once, so that wide intermediate values take little memory.
_ROWS = 64
_OPAQUE = 255


def has_alpha(pixels: av.VideoFormat) -> bool:
    """Whether a pixel format can store transparency; a palette's colours have it, too."""
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)


def over_white(rgba: np.ndarray, rgb: np.ndarray) -> None:
    """Blend a frame over white: `c·a + 255·(1 - a)`, rounded.

    Args:
        rgba: uint8 [H, W, 4], alpha not multiplied into the colours.
        rgb: uint8 [H, W, 3], which is written.
    """
    for top in range(0, len(rgba), _ROWS):
        rows = rgba[top : top + _ROWS].astype(np.uint16)
        alpha = rows[..., 3:]
        # At most 255² + 127, which 16 bits hold.
        blended = rows[..., :3] * alpha + _OPAQUE * (_OPAQUE - alpha) + _OPAQUE // 2
        rgb[top : top + _ROWS] = blended // _OPAQUE


def is_opaque(rgba: np.ndarray) -> bool:
    """Whether every pixel of a frame, uint8 [H, W, 4], is opaque."""
    return bool(rgba[..., 3].min() == _OPAQUE)
