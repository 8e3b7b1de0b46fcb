"""The vision tower's own lesson: what is told about each token."""

from __future__ import annotations

import numpy as np
import torch

from dycoke_cli.models.mini.eyes import Reader, what_is_where
from dycoke_cli.models.mini.world import COLOURS, SHAPES, Script, Thing, draw_script


def test_by_hand():
    star = Thing("star", "red", 0.15, (0, 0), (0, 0), (0.06, 0.06), "turn", 0.5, 0.5, "blue")
    seen = what_is_where(Script("black", (star,)), np.array([0.0, 1.0]))
    # The centre (0.25, 0.25) lies between the first two tokens of the first two rows of four.
    shapes = seen[0, :, 0].reshape(4, 4)
    assert (shapes[:2, :2] == SHAPES.index("star") + 1).all()
    assert shapes.sum() == 4 * (SHAPES.index("star") + 1)
    assert seen[0, 0, 1] == COLOURS.index("red") + 1
    assert seen[1, 0, 1] == COLOURS.index("blue") + 1
    assert set(seen[:, :, 2].ravel()) == {0, 1}


def test_everything_visible_is_somewhere_and_nothing_else():
    times = np.linspace(0, 1, 6)
    for i in range(60):
        script = draw_script(i, "train")
        seen = what_is_where(script, times)
        for f in range(len(times)):
            there = {SHAPES[s - 1] for s in seen[f, :, 0] if s}
            assert there == {t.shape for t in script.things if t.visible(times)[f]}
            colours = {COLOURS[c - 1] for c in seen[f, :, 1] if c}
            assert colours == {t.colours(times)[f] for t in script.things if t.visible(times)[f]}


def test_the_share_told_right_is_over_things_only():
    reader = Reader((3, 4))
    facts = torch.tensor([[0, 0], [2, 3], [1, 1]])
    with torch.no_grad():
        reader.read.weight.zero_()
        reader.read.bias.zero_()
        reader.read.bias[2] = reader.read.bias[3 + 3] = 9.0
    loss, right = reader.loss(torch.zeros(3, 256), facts)
    assert right == 0.5
    assert loss > 0
