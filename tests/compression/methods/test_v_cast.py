"""V-CAST against loops over tokens and frames."""

from __future__ import annotations

import math

import pytest
import torch

from dycoke_cli.compression.methods.v_cast import VCast
from tests.compression.clips import BUDGETS, CLIPS, Frames, cosine, floats, mean, norm, single


def means_of(frames: Frames) -> list[list[float]]:
    averages = [mean(frame) for frame in frames]
    return [[x / max(norm(average), 1e-6) for x in average] for average in averages]


def counts(frames: Frames, retain: float) -> list[int]:
    """How many tokens each frame keeps, given out one at a time."""
    count, size = len(frames), len(frames[0])
    means = means_of(frames)
    curvature = [1.0] * count
    for t in range(1, count - 1):
        before = [x - y for x, y in zip(means[t], means[t - 1], strict=True)]
        after = [x - y for x, y in zip(means[t + 1], means[t], strict=True)]
        curvature[t] = 1 - cosine(before, after, 1e-6)
    powers = [math.exp(c / 0.7) for c in curvature]
    total = max(count, int(count * size * retain))
    wanted = [single(power / sum(powers) * (total - count)) for power in powers]
    taken = [1 + min(int(w), size - 1) for w in wanted]
    while sum(taken) < total:
        open_ = [t for t in range(count) if taken[t] < size]
        taken[max(open_, key=lambda t: (wanted[t] - int(wanted[t]), -t))] += 1
    return taken


def reference(frames: Frames, retain: float) -> list[int]:
    """The rule, a token at a time."""
    size, kept = len(frames[0]), []
    for t, (count, middle) in enumerate(zip(counts(frames, retain), means_of(frames), strict=True)):
        norms = [single(norm(token)) for token in frames[t]]
        least, most = min(norms), max(norms)
        ranked = sorted(
            (
                -single(
                    1
                    - single(cosine(frames[t][n], middle, 1e-6))
                    + (norms[n] - least) / (most - least + 1e-6)
                ),
                n,
            )
            for n in range(size)
        )
        kept += sorted(t * size + n for _, n in ranked[:count])
    return kept


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    for retain in BUDGETS:
        chosen = VCast(retain=retain).select(CLIPS[clip]).tolist()
        assert chosen == reference(floats(clip), retain), retain


def per_frame(features: torch.Tensor, retain: float) -> list[int]:
    frames, size = features.shape[:2]
    kept = VCast(retain=retain).select(features)
    return (kept // size).bincount(minlength=frames).tolist()


def test_static_footage_shares_evenly() -> None:
    # One token each, and 3 of the 15 others: nothing is left over.
    assert per_frame(CLIPS["static"], 20 / 55) == [4] * 5


def test_what_the_floors_leave_goes_to_one_frame() -> None:
    # 23 - 5 = 18 others, 3.6 each: 3 each, and the first frame takes all three that are left.
    assert per_frame(CLIPS["static"], 23 / 55) == [7, 4, 4, 4, 4]
    # 53: 9.6 each, and a frame takes no more than the 11 it has.
    assert per_frame(CLIPS["static"], 53 / 55) == [11, 11, 11, 10, 10]


def test_a_turn_gets_more() -> None:
    points = torch.tensor([[1.0, 0.0], [1.0, 0.5], [1.0, 1.0], [1.0, 0.5], [1.0, 0.0]])
    features = points[:, None].repeat(1, 20, 1)
    counted = per_frame(features, 0.5)
    assert counted[2] == max(counted) > counted[1]
