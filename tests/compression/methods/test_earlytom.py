"""EarlyTom against its rule written out by loops: groups, merging of frames, and what they keep."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch

from dycoke_cli.compression.method import MergedFrames, SelectionInputs
from dycoke_cli.compression.methods.earlytom import EarlyTom
from tests.compression.clips import BUDGETS, CLIPS, evenly_shared, given
from tests.compression.earlytom import groups_by_loops, merged_by_loops


def kept_by_loops(
    of_clip: SelectionInputs, merged: MergedFrames | None, retain: float
) -> list[int]:
    attention = of_clip.attention.double().tolist()
    frames, size = len(attention), len(attention[0])
    into = range(frames) if merged is None else merged.into
    groups = range(frames) if merged is None else merged.groups
    left = sorted(set(into))
    quotas = evenly_shared(max(1, int(frames * size * retain)), len(left))
    found = []
    for frame, quota in zip(left, quotas, strict=True):
        members = [f for f in left if groups[f] == groups[frame]]
        ranked = sorted(range(size), key=lambda n: (-attention[frame][n], n))
        if frame in (members[0], members[-1]):
            found += sorted(frame * size + n for n in ranked[:quota])
            continue
        tokens = list(range(size))
        for window in range(quota):
            length = -(-(len(tokens)) // (quota - window))
            own, tokens = tokens[:length], tokens[length:]
            found.append(frame * size + min(own, key=ranked.index))
    return found


# Frames of which several are alike, in every order of likeness.
def walk(frames: int, seed: int, step: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    moved = torch.randn(frames, 5, 6, generator=generator) * step
    return torch.randn(1, 5, 6, generator=generator) + moved.cumsum(0)


HIDDEN = CLIPS | {f"walk {s}": walk(17, s, 0.1 + 0.1 * s) for s in range(6)}
METHODS = (
    EarlyTom(retain=0.01),
    EarlyTom(retain=0.01, group_threshold=-1.0),
    EarlyTom(retain=0.01, group_threshold=-1.0, max_window=40),
    EarlyTom(retain=0.7, group_threshold=0.2, max_window=9, ema=0.5),
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("clip", HIDDEN)
def test_frames_are_merged_by_the_rule(clip: str, method: EarlyTom) -> None:
    hidden = HIDDEN[clip]
    merging = method.merge_frames()
    frames: list[Any] = hidden.double().tolist()
    least = max(1, math.ceil(len(frames) * method.retain))
    for _ in range(3):
        expected, rows = merged_by_loops(frames, method, least)
        merged, found = merging.merge(hidden, len(HIDDEN[clip]))
        assert found == rows
        assert merged.dtype == hidden.dtype
        tolerance = {"atol": 2e-2, "rtol": 2e-2} if hidden.dtype == torch.bfloat16 else {}
        torch.testing.assert_close(merged, torch.tensor(expected, dtype=hidden.dtype), **tolerance)
        hidden, frames = merged, merged.double().tolist()
    numbers = [n for n, g in enumerate(groups_by_loops(frames, method)) for _ in g]
    assert merging.groups(hidden) == numbers


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("retain", BUDGETS)
def test_what_is_kept_is_the_rule_by_loops(clip: str, retain: float) -> None:
    of_clip = given(clip)
    frames = len(of_clip.features)
    several = MergedFrames(
        tuple(f - f % 2 for f in range(frames)), tuple(f // 6 for f in range(frames))
    )
    one_group = MergedFrames(tuple(range(frames)), (0,) * frames)
    for merged in (None, one_group, several):
        if merged is several and retain > 0.5:  # merging stops before
            continue
        shown = SelectionInputs(of_clip.features, of_clip.attention, merged=merged)
        selection = EarlyTom(retain=retain).choose(shown)
        assert selection.kept.tolist() == kept_by_loops(of_clip, merged, retain)
        assert selection.features is None


def test_the_count_is_exact_however_much_could_be_merged() -> None:
    draw = random.Random(0)
    for _ in range(25):
        frames, size = draw.randint(1, 50), draw.randint(1, 9)
        retain = draw.choice([1e-9, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.9, 1.0, 1 - draw.random()])
        method = EarlyTom(retain=retain, group_threshold=-1.0, max_window=draw.randint(2, 50))
        merging = method.merge_frames()
        hidden = 1 + 0.1 * torch.rand(frames, 3, 4)
        hidden = hidden if draw.random() < 0.5 else torch.ones_like(hidden).cumsum(0)
        into, groups = [], []
        for window in hidden.split(merging.window):
            rows = [*range(len(window))]
            left = window
            for _ in range(3):
                left, found = merging.merge(left, len(window))
                rows = [found[row] for row in rows]
            first = [rows.index(row) + len(into) for row in rows]
            numbers = merging.groups(left)
            groups += [100 * len(into) + numbers[row] for row in rows]
            into += first
        attention = torch.rand(frames, size)
        shown = SelectionInputs(
            torch.rand(frames, size, 2), attention, merged=MergedFrames((*into,), (*groups,))
        )
        kept = method.choose(shown).kept.tolist()
        assert len(kept) == max(1, int(frames * size * retain)) == len(set(kept))
        assert {into[token // size] == token // size for token in kept} == {True}


@pytest.mark.parametrize(
    ("depth", "layers"),
    [(26, [8, 21, 23]), (24, [7, 19, 21]), (27, [8, 22, 24]), (4, [0, 2]), (2, [0]), (1, [])],
)
def test_layers_are_in_proportion_to_the_towers(depth: int, layers: list[int]) -> None:
    assert EarlyTom().merge_frames().layers(depth) == layers


def test_what_is_encoded_depends_on_what_the_tower_is_told() -> None:
    """And not on what is done behind it."""
    key = EarlyTom().merge_frames().parameters
    for other in ({"retain": 0.1}, {"ema": 1.0}, {"max_window": 5}, {"group_threshold": 0.5}):
        assert EarlyTom(**other).merge_frames().parameters != key
    assert EarlyTom(positions="kept").merge_frames().parameters == key
