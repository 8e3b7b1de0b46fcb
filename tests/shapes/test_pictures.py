"""What happens in a script is what pixels show: by hues, areas and centres, not by the script."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from skimage.draw import polygon2mask

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import COLOURS, SHAPES, Event, Script
from tests.shapes.pixels import centre, mask, one_thing
from tests.shapes.witness import Witness, filmed_plainly, place_of
from training.world.random_scripts import ScriptLimits, draw_script

SIZE = 96
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1),
        "top": (0, -1), "bottom": (0, 1)}  # fmt: skip


def seen(script: Script, event: Event, *shares: float) -> np.ndarray:
    """Pictures at shares of an event: 0 is just before it, 1 just after it."""
    length = event.finish - event.begin
    times = [event.begin + length * s + (s - 0.5) * 1e-4 for s in shares]
    return render(script, np.array(times), SIZE)


def enters(script: Script, event: Event, colour: str) -> None:
    before, early, after = (mask(f, colour) for f in seen(script, event, 0, 0.35, 1))
    assert not before.any()
    assert after.any()
    if early.any():
        assert np.dot(centre(early) - centre(after), WAYS[event.way]) > 0.03
    assert np.dot(centre(early if early.any() else after) - 0.5, WAYS[event.way]) > -0.4


def leaves(script: Script, event: Event, colour: str) -> None:
    before, late, after = (mask(f, colour) for f in seen(script, event, 0, 0.5, 1))
    assert before.any()
    assert not after.any()
    assert np.dot(centre(late) - centre(before), WAYS[event.way]) > 0.03 or not late.any()


def moves(script: Script, event: Event, colour: str) -> None:
    before, after = (mask(f, colour) for f in seen(script, event, 0, 1))
    step = centre(after) - centre(before)
    assert np.dot(step, WAYS[event.way]) > 0.2
    assert np.abs(step[np.array(WAYS[event.way]) == 0]).max() < 0.05


def bounces(script: Script, event: Event, colour: str) -> None:
    before, up, down, again, after = (
        mask(f, colour) for f in seen(script, event, 0, 0.25, 0.5, 0.75, 1)
    )
    assert (before == after).all()
    for high in (up, again):
        assert centre(high)[1] < centre(down)[1] - 0.04
    assert np.abs(centre(before) - centre(down)).max() < 0.02


def spins(script: Script, event: Event, colour: str) -> None:
    before, amid = (mask(f, colour) for f in seen(script, event, 0, 0.27))
    assert abs(amid.sum() / before.sum() - 1) < 0.15
    assert np.abs(centre(before) - centre(amid)).max() < 0.04
    assert (before ^ amid).sum() > 0.08 * before.sum()


def grows(script: Script, event: Event, colour: str) -> None:
    before, after = (mask(f, colour) for f in seen(script, event, 0, 1))
    # 1.45 squared is 2.1; the edge of the picture may cut some of it off.
    assert 1.6 < after.sum() / before.sum() < 2.4


def shrinks(script: Script, event: Event, colour: str) -> None:
    before, after = (mask(f, colour) for f in seen(script, event, 0, 1))
    assert after.sum() / before.sum() == pytest.approx(0.62**2, abs=0.09)


def hits(script: Script, event: Event, colour: str) -> None:
    before, apex, after = (mask(f, colour) for f in seen(script, event, 0, 0.5, 1))
    assert (before == after).all()
    target = np.array([(c + 0.5) / 3 for c in event.cell])
    assert np.linalg.norm(centre(apex) - target) < np.linalg.norm(centre(before) - target) - 0.02
    # Another colour is near: edges that slant don't reach as far as the radius.
    rows, columns = np.nonzero(apex)
    frame = seen(script, event, 0.5)[0]
    others = np.argwhere(np.any([mask(frame, c) for c in COLOURS if c != colour], axis=0))
    gaps = np.linalg.norm(others[:, None] - np.stack([rows, columns], -1), axis=-1)
    assert gaps.min() < 7


def hides(script: Script, event: Event, colour: str) -> None:
    before, after = (mask(f, colour) for f in seen(script, event, 0, 1))
    assert before.any()
    assert not after.any()


def turns(script: Script, event: Event, colour: str) -> None:
    before, after = seen(script, event, 0, 1)
    assert not mask(after, colour).any()
    assert np.abs(centre(mask(before, colour)) - centre(mask(after, event.colour))).max() < 0.02


LOOKS = {"enter": enters, "leave": leaves, "move": moves, "bounce": bounces, "spin": spins,
         "grow": grows, "shrink": shrinks, "hit": hits, "hide": hides, "turn": turns}  # fmt: skip


def test_what_is_beside_the_picture_isnt_painted() -> None:
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)):
        for far in (0.7, 0.85):
            script = one_thing(offset=(far * x, far * y))
            assert not mask(render(script, np.array([0.0]), SIZE)[0], "red").any()


@pytest.mark.parametrize("deed", list(LOOKS))
def test_events_look_like_what_they_are(deed: str) -> None:
    found, i = 0, 0
    while found < 4:
        script = filmed_plainly(draw_script([i, 44], "train"))
        i += 1
        for event in (e for e in script.events if e.deed == deed):
            saw = Witness(script)
            colour = saw.name(event.thing, event.begin).split()[0]
            everyone = [n for k, n in enumerate(saw.names) if k != event.thing]
            everyone += [n for k, n in enumerate(saw.last_names) if k != event.thing]
            if not any(name.startswith((colour, event.colour or colour)) for name in everyone):
                LOOKS[deed](script, event, colour)
                found += 1


def test_every_thing_is_where_its_answer_says() -> None:
    checked = Counter()
    for i in range(30):
        script = filmed_plainly(draw_script([i, 45], "train", ScriptLimits((0, 0), 1)))
        frame = render(script, np.array([0.5]), SIZE)[0]
        for thing in script.things:
            if [t.colour for t in script.things].count(thing.colour) == 1:
                place = place_of(*((c + 0.5) / 3 for c in thing.cell))
                assert place_of(*centre(mask(frame, thing.colour))) == place
                checked[place] += 1
    assert len(checked) == 9


def corners(shape: str) -> np.ndarray:
    """Corners (x, y) in radii, as one would draw the shape; y downwards."""
    if shape == "circle":
        turn = np.linspace(0, 2 * np.pi, 100)
        return np.stack([np.cos(turn), np.sin(turn)], -1)
    if shape == "star":
        turn = np.arange(10) * np.pi / 5
        reach = np.where(np.arange(10) % 2 == 0, 1.15, 0.5)
        return np.stack([np.sin(turn) * reach, -np.cos(turn) * reach], -1)
    a, b = 0.34, 1.05
    return np.array({
        "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        "triangle": [(0, -1.1), (1.05, 0.85), (-1.05, 0.85)],
        "cross": [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
                  (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)],
    }[shape])  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turned", [0.0, 0.3])
def test_shapes_are_the_polygons_of_another_library(shape: str, turned: float) -> None:
    script = one_thing(shape=shape, radius=0.3)
    spin = Event("spin", 0.0, 1.0, 0)
    frame = render(replace(script, events=(spin,)), np.array([turned]), 200)[0]
    cos, sin = np.cos(5.0 * turned), np.sin(5.0 * turned)
    # Clockwise on a picture whose y runs downwards.
    outline = corners(shape) @ np.array([[cos, sin], [-sin, cos]]) * 60 + 99.5
    expected = polygon2mask((200, 200), outline[:, ::-1])
    drawn = mask(frame, "red")
    assert (drawn & expected).sum() / (drawn | expected).sum() > 0.97


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_look_like_their_names(colour: str) -> None:
    frame = render(one_thing(colour=colour), np.array([0.0]), SIZE)[0]
    assert mask(frame, colour).sum() == pytest.approx(np.pi * (0.15 * SIZE) ** 2, rel=0.07)
    assert not any(mask(frame, other).any() for other in COLOURS if other != colour)


def test_a_larger_drawing_scaled_down_is_the_smaller_one() -> None:
    script = filmed_plainly(draw_script([5, 44], "train"))
    small, large = (render(script, np.array([0.2]), size)[0] for size in (64, 256))
    scaled = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(scaled - small).mean() < 1.5


def test_a_cut_changes_the_wall_and_everyone() -> None:
    script = next(
        s for s in (draw_script([i, 46], "train") for i in range(100)) if len(s.scenes) == 2
    )
    cut = script.scenes[1].begin
    script = filmed_plainly(script)
    for time, scene in ((cut - 1e-3, 0), (cut + 1e-3, 1)):
        frame = render(script, np.array([time]), SIZE)[0]
        colours = {c for c in COLOURS if mask(frame, c).sum() > 20}
        saw = Witness(script)
        everyone = [k for k, t in enumerate(script.things) if t.scene == scene]
        shown = [k for k in everyone if saw.inside(k, time) and not saw.look(k, time).hidden[0]]
        assert colours == {saw.name(k, time).split()[0] for k in shown}
