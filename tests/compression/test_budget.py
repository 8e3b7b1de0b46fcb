"""Budgets are exact for every method that takes one; and the controls."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from dycoke_cli.compression.budget import budget, evenly, shares
from dycoke_cli.compression.method import SelectionInputs, with_model_defaults
from dycoke_cli.compression.methods.uniform_frames import UniformFrames
from dycoke_cli.compression.methods.uniform_spatial import UniformSpatial, spread
from dycoke_cli.compression.registry import create, symbols
from tests.compression.clips import BUDGETED, EARLY, random_given

STAGES = ("llm", "vision")

# Shares that floats don't hold exactly, the smallest and the largest.
SHARES = (1e-9, 0.05, 0.1, 0.15, 0.25, 0.29, 1 / 3, 0.5, 0.7, 1 - 1e-9, 1.0)


@pytest.mark.parametrize("name", EARLY)
def test_the_count_and_the_choice_are_the_same_for_tokens_merged_early(name: str) -> None:
    """Nothing is known of what was encoded but the embeddings."""
    generator, draw = torch.Generator().manual_seed(2), random.Random(2)
    for frames, per_frame in [(1, 1), (5, 16), (9, 3), (draw.randint(1, 12), draw.randint(1, 20))]:
        given = random_given(torch.randn(frames, per_frame, 4, generator=generator))
        for retain in (*SHARES, 1 - draw.random()):
            behind, inside = (create(name, retain=retain, merge_stage=s) for s in STAGES)
            encoded = torch.arange(0, frames * per_frame, 2)
            kept = inside.choose(replace(given, encoded=encoded)).kept.tolist()
            assert kept == behind.choose(given).kept.tolist()
            assert len(kept) == inside.kept_tokens(frames, per_frame)
            assert len(kept) == behind.kept_tokens(frames, per_frame)


@pytest.mark.parametrize("name", BUDGETED)
def test_positions_are_the_models_unless_they_are_given(name: str) -> None:
    for default in ("kept", "renumbered"):
        suited = with_model_defaults(
            create(name, retain=0.5), {"prune_layer": 3, "positions": default}
        )
        assert suited.renumbers() == (default == "renumbered")
        chosen = with_model_defaults(
            create(name, retain=0.5, positions="kept"), {"positions": default}
        )
        assert not chosen.renumbers()


def test_counts_are_int_of_double_precision() -> None:
    assert budget(10, 10, 0.29) == 28  # 0.29 * 100 is 28.999…
    assert budget(32, 196, 0.25) == 1568
    assert budget(1, 1, 1e-9) == 1


def test_shares_and_numbers_are_spread_evenly() -> None:
    assert shares(7, 4) == [1, 2, 2, 2]
    assert shares(2, 4) == [0, 1, 0, 1]
    assert evenly(0, 5).tolist() == []
    assert evenly(1, 5).tolist() == [2]
    assert evenly(2, 8).tolist() == [2, 6]
    assert evenly(5, 5).tolist() == [0, 1, 2, 3, 4]


def frames_kept(retain: float, frames: int, per_frame: int) -> dict[int, list[int]]:
    """The positions kept, by frame."""
    kept: dict[int, list[int]] = {}
    for token in UniformFrames(retain=retain).select(torch.zeros(frames, per_frame, 1)).tolist():
        kept.setdefault(token // per_frame, []).append(token % per_frame)
    return kept


def test_uniform_frames() -> None:
    whole = [*range(16)]
    assert frames_kept(0.25, 8, 16) == {2: whole, 6: whole}
    # 2.5 frames: two whole, and every other position of a third.
    assert frames_kept(0.3125, 8, 16) == {1: whole, 4: whole, 6: spread(8, 16).tolist()}
    # Less than a frame is a part of the middle one.
    assert frames_kept(0.03125, 8, 16) == {4: spread(4, 16).tolist()}
    assert frames_kept(1.0, 3, 16) == {0: whole, 1: whole, 2: whole}


def test_uniform_spatial() -> None:
    features = torch.zeros(3, 16, 1)
    given = SelectionInputs(features)
    each = UniformSpatial(retain=0.25).choose(given).kept.view(3, 4)
    each -= 16 * torch.arange(3)[:, None]
    # One of each block of four, and in the next frame the next.
    assert each.tolist() == [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14]]
    more = UniformSpatial(retain=14 / 48).choose(given).kept
    assert more.floor_divide(16).bincount().tolist() == [4, 5, 5]


@pytest.mark.parametrize(("side", "count"), [(8, 16), (8, 4), (14, 49), (16, 64), (6, 9)])
def test_a_spread_takes_no_row_or_column_twice_as_often(side: int, count: int) -> None:
    """A stride along rows of 8 would take two of their columns, and leave out six."""
    positions = spread(count, side * side)
    for line in (positions // side, positions % side):
        taken = [n for n in line.bincount(minlength=side).tolist() if n]
        assert len(set(taken)) == 1
        assert len(taken) ** 2 == count


@pytest.mark.parametrize("per_frame", [1, 2, 7, 12, 35, 196])
def test_a_spread_is_of_that_many_positions_and_sees_each_in_turn(per_frame: int) -> None:
    for count in range(per_frame + 1):
        seen: set[int] = set()
        for turn in range(-(-per_frame // count) if count else 1):
            positions = spread(count, per_frame, turn).tolist()
            assert positions == sorted(set(positions))
            assert len(positions) == count
            seen.update(positions)
        assert seen == set(range(per_frame) if count else [])


def test_a_random_budget_has_nothing_else_of_dycoke() -> None:
    method = with_model_defaults(
        create("random", retain=0.25), {"prune_layer": 3, "positions": "kept"}
    )
    assert method.pruning() is None
    assert method.before_vision() is None
    assert (method.parameters()["ttm"], method.parameters()["kv_prune"]) == (False, False)
    assert symbols(method) == ["R=0.25"]
    features = torch.zeros(8, 20, 1)
    kept = method.select(features).tolist()
    assert len(kept) == 40
    assert kept == create("random", retain=0.25).select(features).tolist()
    assert kept != create("random", retain=0.25, draw_seed=1).select(features).tolist()
    # It doesn't look: as likely here as there.
    counts = torch.zeros(160)
    for seed in range(300):
        counts[create("random", retain=0.25, draw_seed=seed).select(features)] += 1
    assert counts.mean() == 75
    assert counts.min() > 40
    assert counts.max() < 110
