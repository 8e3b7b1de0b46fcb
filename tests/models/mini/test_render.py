"""Pictures: the right colour at the right place, whatever the size."""

from __future__ import annotations

import numpy as np
import pytest

from dycoke_cli.models.mini.render import DISTANCES, RGB, render
from dycoke_cli.models.mini.world import SHAPES, Script, Thing, draw_script


def thing(**changes) -> Thing:
    base = {
        "shape": "circle", "colour": "red", "radius": 0.15, "start": (0, 1), "end": (0, 1),
        "offset": (0.0, 0.0), "action": "stay",
    }  # fmt: skip
    return Thing(**(base | changes))


@pytest.mark.parametrize("size", [64, 100, 256])
def test_every_thing_is_where_the_script_says(size: int):
    times = np.linspace(0, 1, 5)
    for i in range(12):
        script = draw_script(i, "train")
        frames = render(script, times, size)
        assert frames.shape == (5, size, size, 3)
        assert frames.dtype == np.uint8
        for t in script.things:
            colours, visible = t.colours(times), t.visible(times)
            for f, (x, y) in enumerate(t.centres(times) * size):
                pixel = frames[f, int(y), int(x)].astype(int)
                shown = colours[f] if visible[f] else script.background
                assert np.abs(pixel - RGB[shown]).max() <= 1


def test_the_rest_is_background():
    frame = render(Script("gray", (thing(),)), np.array([0.0]), 128)[0]
    right_half = frame[:, 64:]
    assert (right_half == RGB["gray"]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_centre_of_mass_and_extent(shape: str):
    frame = render(Script("black", (thing(shape=shape, start=(1, 1), end=(1, 1)),)),
                   np.array([0.0]), 200)[0]  # fmt: skip
    mask = frame[..., 0] > 100
    rows, columns = np.nonzero(mask)
    assert abs(columns.mean() - 99.5) < 1
    assert abs(rows.mean() - 99.5) < 8
    for extent in (np.ptp(rows), np.ptp(columns)):
        assert 0.8 * 60 < extent < 1.2 * 60


def test_shapes_differ():
    grid = np.linspace(-1.2, 1.2, 81)
    inside = [d(grid[None, None], grid[None, :, None]) < 0 for d in DISTANCES.values()]
    for i, a in enumerate(inside):
        for b in inside[:i]:
            assert (a ^ b).sum() > 0.15 * a.sum()


def test_a_larger_drawing_scaled_down_is_the_smaller_one():
    script = draw_script(5, "train", 2)
    times = np.array([0.2])
    small, large = render(script, times, 64)[0], render(script, times, 256)[0]
    scaled = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(scaled - small).mean() < 1.0


def test_noise_is_that_of_its_seed():
    script, times = draw_script(1, "train"), np.array([0.5])
    a, b = (render(script, times, 64, noise=3.0, seed=7) for _ in range(2))
    assert (a == b).all()
    assert (a != render(script, times, 64, noise=3.0, seed=8)).any()
