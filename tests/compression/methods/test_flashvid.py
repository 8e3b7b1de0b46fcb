"""FlashVID against loops over tokens."""

from __future__ import annotations

import math
from itertools import product

import pytest

from dycoke_cli.compression.methods.flashvid import FlashVID
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    assert_selected,
    by_segments,
    cosine,
    given,
    mean,
    nearest,
    peaks,
    single,
)


def diverse(frame: list, attention: list[float], centers: list, count: int) -> list[int]:
    size = len(frame)
    weights = []
    for n in range(size):
        inner = [sum(x * y for x, y in zip(frame[n], c, strict=True)) for c in centers]
        weights.append(attention[n] * math.fsum(inner) / len(inner))
    to = [
        [single((1 - single(cosine(frame[i], frame[j], 1e-12))) * weights[j]) for j in range(size)]
        for i in range(size)
    ]
    chosen: list[int] = []
    for _ in range(count):
        score = {}
        for j in range(size):
            if j not in chosen:
                column = sorted(to[i][j] for i in (chosen or range(size)))
                score[j] = column[0] if chosen or size == 1 else column[1]
        chosen.append(max(score, key=lambda j: (score[j], -j)))
    return chosen


def of_segment(
    frames: list, attention: list, counts: list[int], method: FlashVID
) -> dict[int, list[float]]:
    """The tokens kept of a segment, and what they become."""
    size = len(frames[0])
    centers = [mean(frame) for frame in frames]
    found: dict[int, list[float]] = {}
    rest = []
    for t, frame in enumerate(frames):
        chosen = diverse(
            frame, attention[t], centers, counts[t] - int(method.contextual * counts[t])
        )
        found |= {t * size + n: frame[n] for n in chosen}
        rest.append([n for n in range(size) if n not in chosen])
    wanted = sum(counts) - len(found)
    others = sum(map(len, rest))
    links = {}
    for t in range(1, len(frames)):
        for n in rest[t]:
            like = [single(cosine(frames[t][n], frames[t - 1][m], 1e-12)) for m in rest[t - 1]]
            if like and max(like) > method.merge_threshold:
                links[t, n] = (max(like), rest[t - 1][like.index(max(like))])
    most = others - max(wanted, min(sum(counts), others))
    strongest = sorted(links, key=lambda at: (-links[at][0], at))[:most]
    trees: dict[tuple[int, int], list] = {}
    for t, positions in enumerate(rest):
        for n in positions:
            root = (t, n)
            while root in strongest:
                root = (root[0] - 1, links[root][1])
            trees.setdefault(root, []).append(frames[t][n])
    ends = [0]
    for t in range(len(frames)):
        ends.append(ends[-1] + sum(root[0] == t for root in trees))
    for t in range(len(frames)):
        roots = sorted(root for root in trees if root[0] == t)
        whole = max(1, ends[-1])
        quota = ends[t + 1] * wanted // whole - ends[t] * wanted // whole
        tokens = [mean(trees[root]) for root in roots]
        if quota == len(roots):
            found |= {t * size + n: tok for (_, n), tok in zip(roots, tokens, strict=True)}
            continue
        if not quota:
            continue
        middle = peaks(tokens, quota, min(7, quota))
        owners = nearest(tokens, middle)
        for c in middle:
            members = [tokens[i] for i, owner in enumerate(owners) if owner == c]
            found[t * size + roots[c][1]] = mean(members)
    return found


OPTIONS: list[dict[str, float]] = [
    {},
    {"min_segments": 1, "segment_threshold": -1.0},
    {"min_segments": 2, "segment_threshold": 0.5, "merge_threshold": 0.1, "contextual": 0.7},
]


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    of_clip = given(clip)
    lists = [x.double().tolist() for x in (of_clip.features, of_clip.attention)]
    for retain, options in product(BUDGETS, OPTIONS):
        method = FlashVID(retain=retain, **options)
        assert_selected(method.choose(of_clip), by_segments(*lists, retain, method, of_segment))
