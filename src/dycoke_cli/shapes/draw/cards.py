"""The needle: a white card with a digit or letter."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Side of the card and height of its font, in sides of the picture.
CARD, FONT = 0.27, 0.25
PAPER, INK, EDGE = (250, 250, 250), (20, 20, 20), (20, 20, 20)
# Drawn so much larger, then scaled down: smooth at every size.
OVERSAMPLING = 4


@lru_cache(maxsize=256)
def card(glyph: str, size: int) -> np.ndarray:
    """The card of a glyph for pictures of `size` pixels: [side, side, 3] float32."""
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
