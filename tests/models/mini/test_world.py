"""Scripts: drawn from seeds, split by content, and doing what they say."""

from __future__ import annotations

import numpy as np
import pytest

from dycoke_cli.models.mini.world import (
    ACTION_SHARES,
    ACTIONS,
    CELL_CENTRES,
    MOVES,
    SPLITS,
    draw_script,
)


def test_a_seed_always_gives_the_same_script():
    assert draw_script([3, 4], "train", 2) == draw_script([3, 4], "train", 2)
    assert draw_script([3, 4], "train", 2) != draw_script([3, 5], "train", 2)


def test_splits_cover_every_bucket_once():
    buckets = [b for split in SPLITS.values() for b in split]
    assert sorted(buckets) == list(range(100))


@pytest.mark.parametrize("still", [False, True])
def test_splits_never_say_the_same(still: bool):
    said = {
        split: {draw_script(i, split, 1 + i % 2, still=still).content() for i in range(150)}
        for split in SPLITS
    }
    names = list(SPLITS)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert not said[a] & said[b]


def test_the_split_is_that_of_the_content_whatever_the_order_and_jitter():
    script = draw_script(8, "test", 3)
    from dataclasses import replace

    moved = replace(script.things[0], offset=(0.0, 0.0), radius=0.14, begin=0.1)
    other = replace(script, things=(*script.things[1:], moved), seconds=33.0)
    assert other.content() == script.content()
    assert other.split() == "test"


def test_things_do_what_their_action_says():
    times = np.array([0.0, 1.0])
    seen = set()
    for i in range(200):
        for thing in draw_script(i, "train").things:
            seen.add(thing.action)
            (x0, y0), (x1, y1) = thing.centres(times)
            if thing.action in MOVES:
                step = np.sign(np.round([x1 - x0, y1 - y0], 6))
                assert tuple(step) == MOVES[thing.action]
            else:
                assert (x0, y0) == (x1, y1)
            before, after = thing.visible(times)
            assert (before, after) == (thing.action != "appear", thing.action != "vanish")
            first, last = thing.colours(times)
            assert (first != last) == (thing.action == "turn")
    assert seen == set(ACTIONS)
    assert sum(ACTION_SHARES) == pytest.approx(1)


def test_things_stay_in_the_picture_apart_and_different():
    for i in range(100):
        script = draw_script(i, "train", 3)
        assert len({t.shape for t in script.things}) == 3
        colours = [t.colour for t in script.things] + [
            t.new_colour for t in script.things if t.new_colour
        ]
        assert len(set(colours)) == len(colours)
        times = np.linspace(0, 1, 17)
        for thing in script.things:
            assert thing.start[0] in range(len(CELL_CENTRES))
            centres = thing.centres(times)
            assert (centres > thing.radius * 0.8).all()
            assert (centres < 1 - thing.radius * 0.8).all()
            for other in script.things:
                if other is not thing:
                    gap = np.hypot(*(centres - other.centres(times)).T)
                    assert (gap > thing.radius + other.radius).all()


def test_still_scripts_only_stay():
    things = [t for i in range(30) for t in draw_script(i, "train", still=True).things]
    assert {t.action for t in things} == {"stay"}
