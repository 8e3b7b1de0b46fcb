"""Scripts keep the world's promises: how long, how many, how labelled, and what can happen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from dycoke_cli.shapes.recording import Recording, frame_seconds
from dycoke_cli.shapes.script import DEEDS, GLYPHS, LABELS, Script, track
from dycoke_cli.video.sampling import Sampling, wanted_times, window
from tests.shapes.witness import Witness
from training.batches import frame_times
from training.world.random_scripts import (
    SPLITS,
    ScriptLimits,
    content,
    draw_script,
    long_limits,
    split_of,
)

CLIPS, FRAMES = 120, 32


@pytest.fixture(scope="module")
def scripts() -> list[Script]:
    return [draw_script([i, 33], "train") for i in range(CLIPS)]


def by_the_program(script: Script) -> np.ndarray:
    """Times of the frames that `dycoke ask` takes from the script's file, 0-1."""
    seconds = frame_seconds(script.seconds, Recording())
    part = window(Sampling(frames=FRAMES), seconds[-1], script.seconds, 1 / 8)
    wanted, _ = wanted_times(Sampling(frames=FRAMES), part)
    nearest = np.abs(np.array(seconds) - np.array(wanted)[:, None]).argmin(1)
    return np.array(seconds)[nearest] / script.seconds


def in_training(script: Script) -> np.ndarray:
    return frame_times(FRAMES, np.random.default_rng(script.seed))


@pytest.mark.parametrize("sampled", [by_the_program, in_training])
def test_events_and_scenes_span_two_sampling_intervals_at_least(scripts, sampled) -> None:
    for script in scripts:
        times = sampled(script)
        assert len(times) == FRAMES
        for part in (*script.events, *script.scenes):
            inside = (times >= part.begin) & (times < part.finish)
            assert inside.sum() >= 2, part


def test_lengths_labels_and_numbers_of_events_and_scenes(scripts) -> None:
    seconds = np.array([s.seconds for s in scripts])
    assert seconds.min() >= 4
    assert seconds.min() < 8
    assert seconds.max() <= 60
    assert abs((seconds >= 30).mean() - 0.5) < 0.08
    labels = Counter(s.label for s in scripts)
    assert set(labels) == set(LABELS)
    assert labels["dynamic"] >= CLIPS / 3
    events = Counter(len(s.events) for s in scripts)
    assert set(events) == {2, 3, 4, 5, 6}
    assert min(events.values()) > CLIPS / 10
    assert set(Counter(len(s.scenes) for s in scripts)) == {1, 2, 3}
    assert {e.deed for s in scripts for e in s.events} == set(DEEDS)
    assert {e.glyph for s in scripts for e in s.events if e.glyph} == set(GLYPHS)


def test_events_come_one_after_another_each_within_one_scene(scripts) -> None:
    for script in scripts:
        edges = [x for e in script.events for x in (e.begin, e.finish)]
        assert edges == sorted(edges)
        assert edges[0] > 0
        assert edges[-1] < 1
        assert [s.begin for s in script.scenes[1:]] == [s.finish for s in script.scenes[:-1]]
        assert script.scenes[0].begin == 0
        assert script.scenes[-1].finish == 1
        for scene in script.scenes:
            around = [e for e in script.events if e.begin < scene.finish and e.finish > scene.begin]
            assert around
            assert all(scene.begin < e.begin and e.finish < scene.finish for e in around)


def test_no_two_things_ever_share_a_name(scripts) -> None:
    for script in scripts:
        saw = Witness(script)
        names = [name for pair in zip(saw.names, saw.last_names, strict=True) for name in {*pair}]
        assert len(names) == len(set(names))
        assert len({name for name, _ in script.names}) == len(script.names)
        assert len({index for _, index in script.names}) == len(script.names)


def test_who_acts_is_in_the_picture_and_in_nobody_s_hiding_place(scripts) -> None:
    """The witness itself holds that no more than one thing changes during an event."""
    for script in scripts:
        saw = Witness(script)
        for event, deed in zip(script.events, saw.deeds, strict=True):
            if deed.who >= 0:
                assert deed.who == event.thing
                before, after = saw.look(deed.who, event.begin - 1e-6, event.finish + 1e-6).hidden
                assert not before
                assert after == (event.deed == "hide")
                assert saw.inside(deed.who, event.begin - 1e-6) == (event.deed != "enter")
                hidden = [
                    k for k in range(len(script.things)) if saw.look(k, event.begin).hidden[0]
                ]
                for k in hidden:
                    gap = saw.look(k, event.begin).centres - saw.look(deed.who, event.begin).centres
                    assert np.linalg.norm(gap) > 0.2


def test_between_events_nothing_changes(scripts) -> None:
    for script in scripts:
        for scene in script.scenes:
            inside = [e for e in script.events if scene.begin < e.begin < scene.finish]
            edges = [scene.begin, *(x for e in inside for x in (e.begin, e.finish)), scene.finish]
            for begin, finish in zip(edges[::2], edges[1::2], strict=True):
                for k in range(len(script.things)):
                    seen = track(script, k, np.linspace(begin + 1e-9, finish - 1e-9, 5))
                    for part in (seen.centres, seen.radius, seen.angle, seen.blend, seen.visible):
                        assert (part == part[0]).all()


def test_things_do_not_cover_each_other_by_accident(scripts) -> None:
    """Centres are apart by most of both radii; a bounce may come closer for a moment."""
    times = np.linspace(0, 1, 121)
    for script in scripts:
        tracks = [track(script, k, times) for k in range(len(script.things))]
        hopping = np.zeros(len(times), dtype=bool)
        for event in script.events:
            if event.deed == "bounce":
                hopping |= (times > event.begin) & (times < event.finish)
        for a, one in enumerate(tracks):
            for b, other in enumerate(tracks[:a]):
                meeting = np.zeros(len(times), dtype=bool)
                for event in script.events:
                    if event.deed in ("hit", "hide") and {event.thing, event.other} == {a, b}:
                        meeting |= (times > event.begin) & (times < event.finish)
                        meeting |= (times > event.begin) & (event.deed == "hide")
                both = one.visible & other.visible & ~meeting
                gaps = np.linalg.norm(one.centres - other.centres, axis=1)
                ratio = gaps / (one.radius + other.radius)
                assert (ratio[both] > 0.4).all()
                assert (ratio[both & ~hopping] > 0.7).all()


def test_limits_hold() -> None:
    limits = ScriptLimits((1, 2), 1, (0.0, 1.0), ("static",), 0.34)
    for i in range(40):
        script = draw_script(i, "train", limits)
        assert len(script.events) in (1, 2)
        assert len(script.scenes) == 1
        assert script.label == "static"
        assert min(e.finish - e.begin for e in script.events) >= 0.34
        assert sum(t.cell is not None for t in script.things) == 2
    empty = draw_script(1, "train", ScriptLimits((0, 0), 1))
    assert not empty.events
    assert empty.things


def test_events_of_long_videos_lie_anywhere_and_the_camera_moves_as_in_short_ones() -> None:
    scripts = [draw_script([seed, 1], "train", long_limits(3600)) for seed in range(60)]
    begins = np.array([event.begin for script in scripts for event in script.events])
    assert 0.4 < begins.mean() < 0.6
    assert (begins > 0.85).any()
    lengths = [(e.finish - e.begin) * 3600 for script in scripts for e in script.events]
    assert 3 <= min(lengths) < max(lengths) <= 7.8 + 1e-6
    pans = [np.abs(s.camera.pan).max() / 3600 for s in scripts if s.label == "dynamic"]
    assert 1 / 30 <= min(pans) <= max(pans) <= 3 / 30


@pytest.mark.extended
@pytest.mark.slow
def test_splits_never_say_the_same() -> None:
    said = {split: {content(draw_script(i, split)) for i in range(60)} for split in SPLITS}
    names = list(SPLITS)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert not said[a] & said[b]


def test_the_split_is_that_of_the_content_whatever_order_jitter_and_camera() -> None:
    assert sorted(b for split in SPLITS.values() for b in split) == list(range(100))
    script = draw_script(8, "test")
    moved = tuple(replace(t, offset=(0.0, 0.0), radius=0.14) for t in script.things)
    later = tuple(replace(e, begin=e.begin + 0.01) for e in script.events)
    still = replace(script.camera, shake=0.0, quality=1)
    other = replace(script, things=moved, events=later, camera=still, seconds=33.0, seed=1)
    assert content(other) == content(script)
    order = [*range(1, len(moved)), 0]
    renumbered = replace(
        script,
        things=tuple(script.things[i] for i in order),
        events=tuple(
            replace(
                e,
                thing=order.index(e.thing) if e.thing >= 0 else -1,
                other=order.index(e.other) if e.other >= 0 else -1,
            )
            for e in script.events
        ),
    )
    assert content(renumbered) == content(script)
    assert split_of(renumbered) == "test"
    other_tone = replace(
        script.scenes[0], tone="white" if script.scenes[0].tone != "white" else "gray"
    )
    assert content(replace(script, scenes=(other_tone, *script.scenes[1:]))) != content(script)
