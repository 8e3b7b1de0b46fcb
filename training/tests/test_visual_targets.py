"""What is to be read off tokens while training runs: by hand, and against pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import COLOURS, GLYPHS, SHAPES, TONES, Event
from tests.shapes.pixels import mask, one_thing
from tests.shapes.witness import Witness, filmed_plainly
from training.auxiliary_losses import Probe
from training.batches import Shape
from training.objective import (
    CHANGED_LAYER,
    EARLIER_LAYER,
    KNOWN_LAYER,
    LATE_LAYER,
    embed,
    run_layers,
    visual_tokens,
)
from training.visual_targets import (
    CHANGED,
    DOINGS,
    KNOWN,
    SEEN,
    changed_facts,
    earlier_facts,
    facts_of,
    known_facts,
    out_of_domain_facts,
    seen_facts,
)
from training.world.random_scripts import ScriptLimits, draw_script

from .parts import batch_of, parts

TIMES, NOW = np.linspace(0, 1, 9), np.array([0.0])


def tokens_near(x: float, y: float) -> set[int]:
    """The tokens whose centres are at most .19 from a point, and surely the nearest one."""
    line = (0.125, 0.375, 0.625, 0.875)
    cells = [(r, c) for r in range(4) for c in range(4)]
    return {r * 4 + c for r, c in cells if float(np.hypot(line[c] - x, line[r] - y)) < 0.19}


def test_seen_by_hand() -> None:
    script = replace(
        one_thing(shape="star", colour="red", cell=(0, 0), radius=0.12),
        events=(
            Event("turn", 0.1, 0.4, 0, colour="blue"),
            Event("show", 0.6, 0.8, cell=(2, 2), glyph="K"),
        ),
    )
    seen = seen_facts(script, np.array([0.0, 0.5, 0.7]))
    star = tokens_near(0.2, 0.2)
    for frame, colour in ((0, "red"), (1, "blue"), (2, "blue")):
        assert set(np.flatnonzero(seen[frame, :, 0])) == star
        for token in star:
            facts = (SHAPES.index("star") + 1, COLOURS.index(colour) + 1, 1)
            # The third of the sizes (.11 to .155) and not tilted, each counted from 1.
            assert tuple(seen[frame, token, :5]) == (*facts, 3, 1)
    # (.8, .2) of eight columns and rows: the seventh and the second.
    aside = seen_facts(replace(script, things=(replace(script.things[0], cell=(2, 0)),)), NOW)
    assert {tuple(aside[0, t, 7:]) for t in tokens_near(0.8, 0.2)} == {(7, 2)}
    card = tokens_near(0.8, 0.8)
    assert set(np.flatnonzero(seen[2, :, 5])) == card
    assert {int(seen[2, t, 5]) for t in card} == {GLYPHS.index("K") + 1}
    assert not seen[:2, :, 5].any()
    assert (seen[..., 6] == TONES.index("gray")).all()


def test_seen_colours_are_those_of_the_pixels() -> None:
    """Between events: then nothing is half turned, half hidden or half outside."""
    for i in range(12):
        script = filmed_plainly(draw_script([i, 66], "train"))
        edges = [0.0, *(x for e in script.events for x in (e.begin, e.finish)), 1.0]
        times = np.array([(a + b) / 2 for a, b in zip(edges[::2], edges[1::2], strict=True)])
        seen, frames = seen_facts(script, times), render(script, times, 64)
        for facts, frame in zip(seen, frames, strict=True):
            told = {COLOURS[c - 1] for c in facts[:, 1] if c}
            assert told == {c for c in COLOURS if mask(frame, c).sum() > 20}


STILL, LEFT, RIGHT, UP, DOWN = range(1, 6)


@pytest.mark.parametrize(
    ("event", "at", "wanted"),
    [
        # From .2 to .8 in three steps of a tenth of the clip.
        (Event("move", 0.2, 0.5, 0, "right", (2, 1)), (3, 4, 5), (RIGHT, 1, 1, 1, 1)),
        (Event("leave", 0.2, 0.45, 0, "top"), (3,), (UP, 1, 1, 1, 1)),
        (Event("grow", 0.2, 0.5, 0), (3, 4, 5), (STILL, 2, 1, 1, 1)),
        (Event("shrink", 0.2, 0.5, 0), (3, 4, 5), (STILL, 3, 1, 1, 1)),
        (Event("spin", 0.2, 0.5, 0), (3, 4, 5), (STILL, 1, 2, 1, 1)),
        (Event("turn", 0.2, 0.5, 0, colour="blue"), (3, 4, 5), (STILL, 1, 1, 2, 1)),
    ],
)
def test_changed_by_hand(event: Event, at: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    script = replace(
        one_thing(shape="star", colour="red", cell=(0, 1), radius=0.12), events=(event,)
    )
    times = np.linspace(0, 1, 11)
    changed = changed_facts(script, times)
    seen = seen_facts(script, times)[..., 0] > 0
    assert not changed[~seen].any()
    assert not changed[0].any()
    for frame in range(1, 11):
        told = {tuple(facts) for facts in changed[frame, seen[frame]].tolist()}
        assert told <= {wanted if frame in at else (STILL, 1, 1, 1, 1)}


def test_what_enters_is_new_once() -> None:
    enter = Event("enter", 0.3, 0.35, 0, "left", (1, 1))
    alone = one_thing(shape="star", colour="red", cell=(0, 1), radius=0.12)
    script = replace(alone, things=(replace(alone.things[0], cell=None),), events=(enter,))
    changed = changed_facts(script, np.linspace(0, 1, 11))
    news = [set(frame[frame[:, 4] > 0, 4].tolist()) for frame in changed]
    # At .3 it is still outside.
    assert news == [set()] * 4 + [{2}] + [{1}] * 6
    assert len(CHANGED) == changed.shape[-1]


def test_known_by_hand() -> None:
    script = replace(
        one_thing(shape="cross", colour="green", cell=(1, 1)),
        events=(
            Event("bounce", 0.1, 0.3, 0),
            Event("show", 0.4, 0.6, cell=(0, 0), glyph="7"),
            Event("move", 0.7, 0.9, 0, "left", (0, 1)),
        ),
    )
    known = known_facts(script, np.array([0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95]))
    cross, green = SHAPES.index("cross") + 1, COLOURS.index("green") + 1
    there = known[:, tokens_near(0.5, 0.5).pop()]
    assert there[0, :4].tolist() == [cross, green, 5, 0]
    assert there[1:5, 3].tolist() == [DOINGS.index("bounce")] * 4
    # The move's own place is the first one, wherever the cross is now.
    left = known[6, tokens_near(0.2, 0.5).pop()]
    assert left[:4].tolist() == [cross, green, 5, DOINGS.index("move left")]
    assert known[:, 0, 4].tolist() == [0, 0, 1, 1, 2, 2, 3]
    last = [0, 0, *[DOINGS.index("bounce")] * 2, *[DOINGS.index("show")] * 2]
    assert known[:, 0, 5].tolist() == [*last, DOINGS.index("move left")]
    assert known[2, 0, 6:10].tolist() == [green, cross, 0, 0]
    assert known[4, 0, 6:10].tolist() == [0, 0, 0, 0]
    assert known[:, 0, 10].tolist() == [0, 0, 0, *[GLYPHS.index("7") + 1] * 4]
    assert (known[..., 11] == 1).all()


def test_known_counts_events_and_things_as_a_witness_does() -> None:
    for i in range(8):
        script = draw_script([i, 66], "train")
        saw, known = Witness(script), known_facts(script, TIMES)
        over = [sum(e.finish <= t for e in script.events) for t in TIMES]
        assert (known[..., 4] == np.array(over)[:, None]).all()
        for f in range(len(TIMES)):
            met = {k for k in range(len(script.things)) for t in TIMES[: f + 1]
                   if saw.look(k, t).visible[0] and not saw.look(k, t).hidden[0]}  # fmt: skip
            assert (known[f, :, 11] == len(met)).all()
        assert (known[-1, :, 12] == len(script.scenes) - 1).all()


def test_the_event_before_the_last_by_hand() -> None:
    script = replace(
        one_thing(shape="cross", colour="green", cell=(1, 1)),
        events=(
            Event("turn", 0.1, 0.2, 0, colour="blue"),
            Event("show", 0.3, 0.4, cell=(0, 0), glyph="7"),
            Event("move", 0.5, 0.6, 0, "left", (0, 1)),
        ),
    )
    earlier = earlier_facts(script, np.array([0.25, 0.35, 0.45, 0.55, 0.65]))
    cross, green, blue = SHAPES.index("cross") + 1, *(COLOURS.index(c) + 1 for c in
                                                      ("green", "blue"))  # fmt: skip
    turned = [DOINGS.index("turn"), green, cross, blue, 0]
    shown = [DOINGS.index("show"), 0, 0, 0, 0]
    assert earlier[:, 5].tolist() == [[0] * 5, [0] * 5, turned, turned, shown]


def test_what_was_earlier_is_what_was_last_without_the_newest_event() -> None:
    """Whatever is over at the end: the events but one tell the same as their last one."""
    for i in range(8):
        script = draw_script([i, 66], "train", ScriptLimits((2, 6)))
        end = np.array([1.0])
        one_less = replace(script, events=script.events[:-1])
        earlier, last = earlier_facts(script, end), known_facts(one_less, end)[..., 5:10]
        assert (earlier == last).all()


def test_targets_of_what_is_out_of_domain_have_the_same_shapes() -> None:
    ours = facts_of(draw_script([1, 66], "train"), TIMES)
    assert ours[0].shape[:2] == (len(TIMES), 16)
    assert [x.shape for x in ours] == [x.shape for x in out_of_domain_facts(len(TIMES))]


def test_the_future_is_never_told() -> None:
    for i in range(8):
        script = draw_script([i, 66], "train")
        whole, part = known_facts(script, TIMES), known_facts(script, TIMES[:5])
        assert (whole[:5] == part).all()
        assert (whole.max((0, 1)) < KNOWN).all()
        assert (seen_facts(script, TIMES).max((0, 1)) < SEEN).all()


def test_they_are_read_where_they_say() -> None:
    codec, _, model = parts()
    batch = batch_of(1, Shape(videos=2, frames=2, text=40))
    inputs, prefix = embed(model, batch, codec)
    found = run_layers(model, batch, inputs, prefix)
    # The visual part sees no text, so the stock decoder gives it the same states without any.
    states = model.model.language_model(
        inputs_embeds=inputs[:, :prefix], output_hidden_states=True
    ).hidden_states
    for layer, ours in (
        (CHANGED_LAYER, found.changed),
        (KNOWN_LAYER, found.known),
        (EARLIER_LAYER, found.earlier),
        (LATE_LAYER, found.late),
    ):
        np.testing.assert_allclose(
            ours[:, :prefix].detach(), states[layer].detach(), atol=1e-4, rtol=1e-3
        )
    assert visual_tokens(found.known, prefix, codec).shape == (2 * 2 * 16, 256)
    assert torch.equal(visual_tokens(inputs, prefix, codec)[16], inputs[0, 2 + 16])


def test_the_share_told_right_is_over_things_only() -> None:
    probe = Probe(256, (3, 4))
    facts = torch.tensor([[0, 0], [2, 3], [1, 1]])
    with torch.no_grad():
        probe.linear.weight.zero_()
        probe.linear.bias.zero_()
        probe.linear.bias[2] = probe.linear.bias[3 + 3] = 9.0
    loss, right = probe.loss(torch.zeros(3, 256), facts)
    assert right == 0.5
    assert loss > 0
    loss, right = probe.loss(torch.zeros(2, 256), torch.tensor([[0, 1], [0, 2]]))
    assert right is None
    assert loss > 0
