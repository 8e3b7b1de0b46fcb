"""The picture: what is kept looks as it did, what is dropped is nearly white."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dycoke_cli.answer.answer import Trace, TraceStep
from dycoke_cli.inspect.inspection import Inspected, Inspection, TokenGrid
from dycoke_cli.inspect.picture import WIDTH_PX, drawn, faded
from tests.documents import example

GRID = TokenGrid(2, 2, 2, (0.0, 1.0))


def test_dropped_tokens_are_faded() -> None:
    frame = Image.fromarray(np.full((8, 6, 3), 40, np.uint8))
    shown = np.array(faded(frame, np.array([[True, False], [False, True]])))[..., 0]
    assert (shown[:4, :3] == 40).all()
    assert (shown[4:, 3:] == 40).all()
    assert (shown[:4, 3:] > 200).all()
    assert (shown[4:, :3] > 200).all()


def test_words_attention_and_moves_are_drawn() -> None:
    steps = (
        TraceStep("A", (0.5, 0.0, 0.0), (0, 1, 7), (), (), False),
        TraceStep(" b", (0.0, 0.1, 0.2), (7,), (0, 1), (), False),
        TraceStep("", (0.0, 0.1, 0.2), (0,), (7,), (0,), True),
    )
    each = example(Inspected, title="some · K=1", trace=Trace(1, (0, 1, 7), None, steps))
    inspection = example(Inspection, question="Why " * 80, grid=GRID, methods=(each, each))
    frames = [Image.new("RGB", (16, 9), colour) for colour in ("red", "blue")]
    with Image.open(io.BytesIO(drawn(inspection, frames))) as picture:
        assert (picture.format, picture.width) == ("PNG", WIDTH_PX)
        colours = {colour for _, colour in picture.getcolors(2**24)}
    assert {(255, 0, 0), (0, 0, 255), (27, 127, 92), (200, 85, 61), (110, 20, 130)} <= colours
