"""V-CAST against loops over tokens and frames."""

from __future__ import annotations

import math

import pytest

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
