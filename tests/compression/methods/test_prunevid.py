"""PruneVid against loops over tokens, and its segments by hand."""

from __future__ import annotations

import itertools
import math

import pytest

from dycoke_cli.compression.methods.prunevid import PruneVid, in_runs
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    Frames,
    assert_selected,
    cosine,
    floats,
    given,
    mean,
    nearest,
    parts,
    peaks,
    single,
)


def run_at(labels: list[int | None], frame: int) -> set[int]:
    """The frames around one that have its label without a gap."""
    start = stop = frame
    while start and labels[start - 1] == labels[frame]:
        start -= 1
    while stop + 1 < len(labels) and labels[stop + 1] == labels[frame]:
        stop += 1
    return {*range(start, stop + 1)}


def by_frames(clusters: list[int]) -> list[int]:
    """What `in_runs` says, a frame at a time."""
    longest = {
        cluster: max(len(run_at([*clusters], f)) for f, c in enumerate(clusters) if c == cluster)
        for cluster in clusters
    }
    labels: list[int | None] = [
        cluster if len(run_at([*clusters], f)) == longest[cluster] > 1 else None
        for f, cluster in enumerate(clusters)
    ]
    for frame in range(len(labels)):
        if labels[frame] is None:
            gap = sorted(run_at(labels, frame))
            before = run_at(labels, gap[0] - 1) if gap[0] else set()
            after = run_at(labels, gap[-1] + 1) if gap[-1] + 1 < len(labels) else set()
            joined = after if len(after) > len(before) else before
            for one in gap:
                labels[one] = labels[min(joined)] if joined else 0
    return [label for label in labels if label is not None]


def cut(labels: list[int]) -> list[tuple[int, int]]:
    ends = [0, *(f for f in range(1, len(labels)) if labels[f] != labels[f - 1]), len(labels)]
    return [*itertools.pairwise(ends)]


def reference(
    frames: Frames, retain: float, threshold: float, ratio: float
) -> tuple[dict[int, list[float]], dict[int, int]]:
    """The rule, a token at a time: what is kept, and where each token went."""
    count, size = len(frames), len(frames[0])
    budget = max(1, int(count * size * retain))
    whole = [mean(frame) for frame in frames]
    centers = peaks(whole, max(1, int(count * ratio)), min(7, count))
    segments = cut(by_frames([centers.index(c) for c in nearest(whole, centers)]))
    alike = {}
    for s in segments:
        for n in range(size):
            pairs = [
                cosine(frames[a][n], frames[b][n]) for a, b in itertools.combinations(range(*s), 2)
            ]
            if pairs and single(math.fsum(pairs) / len(pairs)) > threshold:
                alike[s, n] = single(math.fsum(pairs) / len(pairs))
    while count * size - sum(s[1] - s[0] - 1 for s, _ in alike) < budget:
        del alike[min(alike, key=lambda item: (alike[item], item))]
    groups = []
    for s in segments:
        still = [n for n in range(size) if (s, n) in alike]
        if still:
            means = [mean([frames[f][n] for f in range(*s)]) for n in still]
            groups.append((means, [[f * size + n for f in range(*s)] for n in still]))
        for f in range(*s):
            moving = [n for n in range(size) if n not in still]
            groups.append(([frames[f][n] for n in moving], [[f * size + n] for n in moving]))
    kept, into = {}, {}
    for (tokens, at), quota in zip(
        groups, parts(budget, [len(tokens) for tokens, _ in groups]), strict=True
    ):
        if quota:
            owners = nearest(tokens, peaks(tokens, quota, min(7, len(tokens))))
            for center in {*owners}:
                members = [i for i, owner in enumerate(owners) if owner == center]
                kept[at[center][0]] = mean([tokens[i] for i in members])
                into |= {token: at[center][0] for i in members for token in at[i]}
    return kept, into


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(("threshold", "ratio"), [(0.8, 0.25), (0.2, 0.5)])
def test_it_is_the_rule_by_loops(clip: str, threshold: float, ratio: float) -> None:
    for retain in BUDGETS:
        method = PruneVid(retain=retain, merge_threshold=threshold, segment_ratio=ratio)
        selection = method.choose(given(clip))
        kept, into = reference(floats(clip), retain, threshold, ratio)
        assert_selected(selection, kept)
        assert selection.into is not None
        assert selection.into.tolist() == [into.get(t, -1) for t in range(len(selection.into))]


def test_runs_are_those_of_a_frame_at_a_time() -> None:
    for length in range(1, 8):
        for clusters in itertools.product(range(3), repeat=length):
            assert in_runs([*clusters]) == by_frames([*clusters]), clusters
