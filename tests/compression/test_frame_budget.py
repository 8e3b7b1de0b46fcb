"""The budget in shares of frames, by how much the language model attends to each (DyToK)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from dycoke_cli.compression.budget import FrameBudgeted, shares_by
from dycoke_cli.compression.registry import METHODS, create
from tests.compression.clips import random_given

BY_FRAME = [name for name, method in METHODS.items() if issubclass(method, FrameBudgeted)]


def by_hand(weights: list[float], total: int, most: int) -> list[int]:
    """As the authors' code says it, in whole numbers and loops."""
    whole = sum(weights)
    exact = [weight / whole * total for weight in weights]
    parts = [int(part) for part in exact]
    rests = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in rests[: total - sum(parts)]:
        parts[i] += 1
    parts = [min(part, most) for part in parts]
    while sum(parts) < total:
        for i in sorted(range(len(parts)), key=lambda i: (-weights[i], i)):
            if parts[i] < most and sum(parts) < total:
                parts[i] += 1
    return parts


def test_shares_as_the_authors_count_them() -> None:
    draw = random.Random(0)
    for _ in range(300):
        frames, most = draw.choice([1, 3, 8, 32]), draw.choice([1, 16, 49])
        # Multiples of 1/64 are exact, and some are equal.
        weights = [draw.randint(0, 63) ** draw.choice([1, 4]) / 64 for _ in range(frames)]
        weights[0] += 1 / 64
        total = draw.randint(1, frames * most)
        found = shares_by(torch.tensor(weights, dtype=torch.float64), total, most)
        assert found == by_hand(weights, total, most)
        assert sum(found) == total
        assert max(found) <= most


def test_what_is_above_the_limit_goes_to_the_others_in_turn() -> None:
    # 20 tokens: 16, 2, 1.5 and .5; the limit leaves 6, one each, then again one each.
    assert shares_by(torch.tensor([16.0, 2.0, 1.5, 0.5]), 20, 10) == [10, 4, 4, 2]
    assert shares_by(torch.zeros(3), 4, 4) == [2, 1, 1]


@pytest.mark.parametrize("name", BY_FRAME)
def test_each_frame_keeps_its_share(name: str) -> None:
    given = random_given(torch.randn(6, 16, 8, generator=torch.Generator().manual_seed(0)))
    weights = torch.tensor([0.02, 0.4, 0.05, 0.3, 0.2, 0.03])
    method = create(name, retain=0.25, frames_by="question")
    kept = method.choose(replace(given, frame_attention=weights)).kept
    assert len(kept) == method.kept_tokens(6, 16) == 24
    frames = kept.floor_divide(16).bincount(minlength=6).tolist()
    # Of those that choose in segments as well, for all frames are unlike: each is one.
    assert frames == by_hand(weights.tolist(), 24, 16)
    equal = create(name, retain=0.25).choose(given).kept
    assert equal.floor_divide(16).bincount(minlength=6).tolist() == [4] * 6


def test_it_is_an_option_of_methods_that_select_in_each_frame() -> None:
    assert set(BY_FRAME) == {
        "uniform-spatial", "visionzip", "prumerge", "prumerge+", "flashvid", "fastvid",
    }  # fmt: skip
    assert create("visionzip").needs == ("attention",)
    asked = create("visionzip", frames_by="question")
    assert asked.needs == ("attention", "frame_attention")
    assert replace(asked, frames_by="equal").needs == ("attention",)
