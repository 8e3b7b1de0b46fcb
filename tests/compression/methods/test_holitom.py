"""HoliTom against loops over tokens, and its segments against every way to cut a video."""

from __future__ import annotations

import itertools

import pytest
import torch

from dycoke_cli.compression.methods.holitom import HoliTom, segments_of
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    assert_selected,
    cosine,
    given,
    mean,
    nearest,
    parts,
    peaks,
    single,
)

Segments = list[tuple[int, int]]


def similarities(frames: list) -> list[list[float]]:
    """Of each token with the one at its place in the frame before: [t][n] for frame t + 1."""
    return [
        [single(cosine(a, b)) for a, b in zip(frame, before, strict=True)]
        for frame, before in zip(frames[1:], frames[:-1], strict=True)
    ]


def static(alike: list, threshold: float, start: int, stop: int, size: int) -> list[int]:
    if stop - start == 1:
        return []
    return [n for n in range(size) if all(alike[t][n] > threshold for t in range(start, stop - 1))]


def every_way(frames: int) -> list[Segments]:
    found = []
    for inner in itertools.product([False, True], repeat=frames - 1):
        ends = [0, *(i + 1 for i, cut in enumerate(inner) if cut), frames]
        found.append(list(itertools.pairwise(ends)))
    return found


def saved(segments: Segments, alike: list, threshold: float, size: int) -> int:
    return sum((b - a - 1) * len(static(alike, threshold, a, b, size)) for a, b in segments)


def best_way(alike: list, threshold: float, frames: int, size: int) -> Segments:
    """Of the ways that save most that whose last segments are shortest, from the end."""
    ways = every_way(frames)
    most = max(saved(way, alike, threshold, size) for way in ways)
    best = [way for way in ways if saved(way, alike, threshold, size) == most]
    return min(best, key=lambda way: [b - a for a, b in reversed(way)])


def reference(
    frames: list, attention: list, retain: float, threshold: float
) -> dict[int, list[float]]:
    """The rule, a token at a time."""
    count, size = len(frames), len(frames[0])
    budget = max(1, int(count * size * retain))
    alike = similarities(frames)
    segments = best_way(alike, threshold, count, size)
    still = {(s, n) for s in segments for n in static(alike, threshold, *s, size)}
    least = {(s, n): min(alike[t][n] for t in range(s[0], s[1] - 1)) for s, n in still}
    while count * size - sum(s[1] - s[0] - 1 for s, _ in still) < budget:
        still.remove(min(still, key=lambda item: (least[item], item)))
    groups: list[tuple[list[int], list | None]] = []
    for segment in segments:
        start, stop = segment
        fixed = [n for n in range(size) if (segment, n) in still]
        if fixed:
            over_time = [mean([frames[t][n] for t in range(start, stop)]) for n in fixed]
            groups.append(([start * size + n for n in fixed], over_time))
        moving = [n for n in range(size) if n not in fixed]
        groups += [([t * size + n for n in moving], None) for t in range(start, stop)]
    found = {}
    for (at, over_time), quota in zip(
        groups, parts(budget, [len(at) for at, _ in groups]), strict=True
    ):
        if over_time is None:
            ranked = sorted(at, key=lambda n: (-attention[n // size][n % size], n))
            found |= {n: frames[n // size][n % size] for n in ranked[:quota]}
        elif quota:
            centers = peaks(over_time, quota, min(7, quota))
            owners = nearest(over_time, centers)
            for c in centers:
                merged = over_time[c]
                others = [over_time[i] for i, owner in enumerate(owners) if owner == c != i]
                if others:
                    merged = [0.6 * x + 0.4 * y for x, y in zip(merged, mean(others), strict=True)]
                found[at[c]] = merged
    return found


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("threshold", [0.8, 0.2])
def test_it_is_the_rule_by_loops(clip: str, threshold: float) -> None:
    of_clip = given(clip)
    lists = [x.double().tolist() for x in (of_clip.features, of_clip.attention)]
    for retain in BUDGETS:
        selection = HoliTom(retain=retain, merge_threshold=threshold).choose(of_clip)
        assert_selected(selection, reference(*lists, retain, threshold))


def test_segments_are_the_best_of_all_ways() -> None:
    generator = torch.Generator().manual_seed(0)
    for frames in range(1, 8):
        for _ in range(20):
            still = torch.rand(frames - 1, 3, generator=generator) < 0.6
            alike = still.double().tolist()
            assert list(segments_of(still)) == best_way(alike, 0.5, frames, 3)
