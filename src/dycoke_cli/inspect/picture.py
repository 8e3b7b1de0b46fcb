"""PNG of an inspection: kept tokens per frame, and attention to each frame per answer token."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dycoke_cli.answer.answer import TraceStep
from dycoke_cli.inspect.inspection import Inspected, Inspection, TokenGrid

WIDTH_PX = 1800
_MARGIN, _GAP, _FRAMES_BESIDE = 36, 8, 8
_FADED = 0.86
"""Opacity of the white overlay on a dropped token."""
_INK, _FAINT = "#333333", "#777777"
_HEAT = np.array([110, 20, 130])
_RECALLED, _EVICTED = "#1b7f5c", "#c8553d"
_HEAT_ROW_PX, _LEAST_HEAT_PX, _BARS_PX, _WORDS_PX, _LABEL_PX = 10, 160, 90, 110, 90
_LINE_LETTERS = 100


def drawn(inspection: Inspection, frames: Sequence[Image.Image]) -> bytes:
    """Draw a strip of frames and an attention heat map per method; returns PNG bytes."""
    parts = [_text(inspection.question, 34, _INK)]
    for each in inspection.methods:
        parts += _of_method(each, inspection.grid, frames)
    file = io.BytesIO()
    stacked(parts).save(file, "PNG", optimize=True)
    return file.getvalue()


def stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Stack images vertically on white."""
    height = sum(part.height + _GAP for part in parts) + 2 * _MARGIN
    whole = Image.new("RGB", (WIDTH_PX, height), "white")
    top = _MARGIN
    for part in parts:
        whole.paste(part, (_MARGIN, top))
        top += part.height + _GAP
    return whole


def kept_strip(
    name: str, grid: TokenGrid, kept: Sequence[int], frames: Sequence[Image.Image]
) -> list[Image.Image]:
    """Draw a caption, and the frames in rows with dropped tokens faded."""
    is_kept = np.zeros(grid.frames * grid.rows * grid.columns, dtype=bool)
    is_kept[[*kept]] = True
    by_frame = is_kept.reshape(grid.frames, grid.rows, grid.columns)
    inner = WIDTH_PX - 2 * _MARGIN
    width = (inner - (_FRAMES_BESIDE - 1) * _GAP) // _FRAMES_BESIDE
    height = width * frames[0].height // frames[0].width
    rows = -(-grid.frames // _FRAMES_BESIDE)
    strip = Image.new("RGB", (inner, rows * (height + _GAP)), "white")
    for number, (frame, mask) in enumerate(zip(frames, by_frame, strict=True)):
        row, column = divmod(number, _FRAMES_BESIDE)
        large = frame.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        strip.paste(faded(large, mask), (column * (width + _GAP), row * (height + _GAP)))
    return [_text(f"{name}: {is_kept.mean():.0%} of visual tokens kept", 26, _FAINT), strip]


def faded(frame: Image.Image, is_kept: np.ndarray) -> Image.Image:
    """Fade the dropped tokens of a frame to nearly white.

    Args:
        is_kept: `[rows, columns]`, bool.
    """
    mask = Image.fromarray(is_kept).resize(frame.size, Image.Resampling.NEAREST)
    white = Image.blend(frame, Image.new("RGB", frame.size, "white"), _FADED)
    return Image.composite(frame, white, mask)


def _of_method(
    each: Inspected, grid: TokenGrid, frames: Sequence[Image.Image]
) -> list[Image.Image]:
    lines = kept_strip(each.title, grid, each.trace.kept, frames)
    return [*lines, _text(each.answer or "(empty)", 30, _INK), _attention(each, grid)]


def _attention(each: Inspected, grid: TokenGrid) -> Image.Image:
    """Heat map of the attention to each frame (down) per answer token (across).

    Below it are the numbers of recalled and evicted tokens per answer token, then the words.
    """
    steps = each.trace.steps
    frame_of = np.array(each.trace.kept, dtype=int) // (grid.rows * grid.columns)
    by_frame = [np.bincount(frame_of, step.attention, grid.frames) for step in steps]
    shares = np.stack(by_frame, axis=1)
    inner = WIDTH_PX - 2 * _MARGIN
    high = max(_HEAT_ROW_PX, _LEAST_HEAT_PX // grid.frames) * grid.frames
    moves = _BARS_PX if any(step.evicted or step.recalled for step in steps) else 0
    # Scaled by the largest value: absolute attention to the video is small for most tokens.
    strength = (shares / max(shares.max(), 1e-9))[..., None]
    heat = Image.fromarray((255 * (1 - strength) + _HEAT * strength).astype(np.uint8))
    whole = Image.new("RGB", (inner, high + moves + _WORDS_PX), "white")
    size = (inner - _LABEL_PX, high)
    whole.paste(heat.resize(size, Image.Resampling.NEAREST), (_LABEL_PX, 0))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(20)
    draw.rectangle((_LABEL_PX, 0, inner - 1, high), outline="#cccccc")
    for frame in {0, grid.frames // 2, grid.frames - 1}:
        middle = (frame + 0.5) * high / grid.frames
        label = f"{grid.timestamps_s[frame]:.1f} s"
        draw.text((0, min(max(12, middle), high - 12)), label, _FAINT, font, anchor="lm")
    wide = size[0] / len(steps)
    if moves:
        _draw_moves(draw, steps, (_LABEL_PX, high, wide))
    every = max(1, round(24 / wide))  # a word is 24 pixels wide once rotated
    for number, step in list(enumerate(steps))[::every]:
        word = Image.new("RGB", (_WORDS_PX, 24), "white")
        shown = step.text.strip() or "(end)"
        ImageDraw.Draw(word).text((_WORDS_PX - 4, 12), shown[:14], _INK, font, anchor="rm")
        left = int(_LABEL_PX + (number + 0.5) * wide) - 12
        whole.paste(word.rotate(90, expand=True), (left, high + moves + 6))
    return whole


def _draw_moves(
    draw: ImageDraw.ImageDraw, steps: Sequence[TraceStep], box: tuple[int, int, float]
) -> None:
    """Draw bars of recalled tokens (upwards) and evicted tokens (downwards)."""
    left, top, wide = box
    middle, reach = top + _BARS_PX // 2, _BARS_PX // 2 - 6
    font = ImageFont.load_default(18)
    draw.text((0, middle - 16), "recalled", _RECALLED, font, anchor="lm")
    draw.text((0, middle + 16), "evicted", _EVICTED, font, anchor="lm")
    # The first selection evicts far more tokens than later ones exchange, so it doesn't count for
    # the scale. Its bar is cut off; the number goes above, where nothing can be recalled yet.
    most = max([1, *(len(s.recalled) for s in steps), *(len(s.evicted) for s in steps[2:])])
    for number, step in enumerate(steps):
        at = (left + (number + 0.1) * wide, left + (number + 0.9) * wide)
        up, down = (len(moved) / most * reach for moved in (step.recalled, step.evicted))
        draw.rectangle((at[0], middle - up, at[1], middle), fill=_RECALLED if up else None)
        bottom = middle + min(down, reach)
        draw.rectangle((at[0], middle, at[1], bottom), fill=_EVICTED if down else None)
        if down > reach:
            centre = (sum(at) / 2, middle - 12)
            draw.text(centre, f"-{len(step.evicted):,}", _EVICTED, font, anchor="mm")
    draw.line((left, middle, left + wide * len(steps), middle), _FAINT)


def _text(text: str, size: int, colour: str) -> Image.Image:
    """Draw wrapped text in Pillow's default font."""
    letters = _LINE_LETTERS * 30 // size
    lines = textwrap.wrap(text, letters) or [""]
    picture = Image.new("RGB", (WIDTH_PX - 2 * _MARGIN, len(lines) * (size + 10)), "white")
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((0, number * (size + 10)), line, colour, font)
    return picture
