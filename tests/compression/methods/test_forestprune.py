"""ForestPrune against loops over tokens, and on clips whose outcome is plain to see."""

from __future__ import annotations

import math

import pytest
import torch

from dycoke_cli.compression.methods.forestprune import ForestPrune
from tests.compression.clips import BUDGETS, CLIPS, Frames, cosine, floats, norm, side, single

Token = tuple[int, int]
"""Frame and position."""


def walked(tokens: list[list[float]], count: int) -> list[int]:
    """The positions at which most arrives of a walk over similar tokens."""
    size = len(tokens)
    alike = [[cosine(a, b) for b in tokens] for a in tokens]
    near = [[j for j in range(size) if single(alike[i][j]) >= 0.5] for i in range(size)]
    near = [of or [*range(size)] for of in near]  # a token of zeros has no direction
    shares = []
    for i, of in enumerate(near):
        weights = {j: math.exp((alike[i][j] - 1) / 0.03) for j in of}
        shares.append({j: weight / math.fsum(weights.values()) for j, weight in weights.items()})
    at = [norm(token) for token in tokens]
    for _ in range(5):
        at = [math.fsum(at[i] * shares[i].get(j, 0) for i in range(size)) for j in range(size)]
    return sorted(sorted(range(size), key=lambda j: (-single(at[j] / len(near[j])), j))[:count])


def far(one: int, other: int, size: int) -> float:
    """The distance of two positions on the grid, along the side where it is larger."""
    height = side(size)
    width = size // height
    down = abs(one // width - other // width) / max(1, height - 1)
    return max(down, abs(one % width - other % width) / max(1, width - 1))


def reference(frames: Frames, retain: float, threshold: float, distance: float) -> list[int]:
    """The rule, a token at a time."""
    size = len(frames[0])
    budget = max(1, int(len(frames) * size * retain))
    left = max(round(size / 2), math.ceil(budget / len(frames)))
    trees: list[list[Token]] = []
    depth: dict[Token, int] = {}
    for f, frame in enumerate(frames):
        earlier = [[*tree] for tree in trees]
        for n in walked(frame, left):
            found = []
            for number, tree in enumerate(earlier):
                for g, m in tree:
                    alike = single(cosine(frames[g][m], frame[n]))
                    apart = far(m, n, size)
                    if alike >= single(threshold) and apart <= distance:
                        found.append((-alike, apart, number))
            if found:
                number = min(found)[2]
                depth[f, n] = depth[earlier[number][-1]] + 1
                trees[number].append((f, n))
            else:
                depth[f, n] = 0
                trees.append([(f, n)])
    if len(trees) <= budget:
        kept = sorted(depth, key=lambda token: (depth[token], token))[:budget]
    else:
        kept = [tree[0] for tree in trees]
        while len(kept) > budget:
            pairs = [
                (-single(cosine(frames[a[0]][a[1]], frames[b[0]][b[1]])), a, b)
                for i, a in enumerate(kept)
                for b in kept[i + 1 :]
            ]
            kept.remove(min(pairs)[2])
    return sorted(f * size + n for f, n in kept)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(("threshold", "distance"), [(0.9, 0.2), (0.4, 0.5)])
def test_it_is_the_rule_by_loops(clip: str, threshold: float, distance: float) -> None:
    for retain in BUDGETS:
        method = ForestPrune(retain=retain, link_threshold=threshold, link_distance=distance)
        kept = method.select(CLIPS[clip]).tolist()
        assert kept == reference(floats(clip), retain, threshold, distance)


def test_what_moved_too_far_is_another_tree() -> None:
    frame = torch.randn(25, 24, generator=torch.Generator().manual_seed(0))
    # A row down, of five: a quarter of the height. What comes in at the top was at the bottom.
    features = torch.stack([frame, frame.roll(5, 0)])

    def kept(distance: float) -> list[int]:
        method = ForestPrune(retain=31 / 50, spatial_retain=1.0, link_distance=distance)
        return method.select(features).tolist()

    assert kept(0.25) == [*range(31)]  # 30 roots, and the first that joined one
    assert kept(0.2) == [*range(30), 49]  # 50 roots: copies of the first 19 go
