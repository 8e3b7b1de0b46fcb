"""Coverage against loops over tokens, and against the best of all selections."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dycoke_cli.compression.coverage import (
    DISTANCE_STEP,
    SIMILARITY_STEP,
    cover,
    cover_and_merge,
    merge_into,
    most_covering,
    similarities,
)
from dycoke_cli.compression.method import Selection
from tests.compression.clips import CLIPS, cosine

# Frames of a clip whose frames differ in length.
UNEQUAL = [0, 0, 0, 1, 2, 2, 2, 2, 5, 5, 6, 9, 9, 9, 9, 9, 9, 10, 11, 11]

# By half a step of each, and by float32.
ROUNDED = DISTANCE_STEP / 2 + SIMILARITY_STEP / 2 + 2e-4


def flat(clip: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of a clip, and the frame of each."""
    features = CLIPS[clip]
    frames, per_frame = features.shape[:2]
    return features.flatten(0, 1), torch.arange(frames).repeat_interleave(per_frame)


def alike_by_loops(tokens: torch.Tensor, frames: list[int], window: int) -> list[list[list[float]]]:
    """The similarities, from the definition."""
    rows = tokens.double().tolist()
    apart = [[max(0.0, 1 - cosine(a, b, 1e-12)) for b in rows] for a in rows]
    mean = max(math.fsum(map(math.fsum, apart)) / len(rows) ** 2, 2**-10)
    found = []
    for _, group in itertools.groupby(range(len(rows)), lambda i: frames[i] // window):
        members = list(group)
        found.append(
            [
                [
                    math.exp(-apart[i][j] / mean - abs(frames[i] - frames[j]) / window)
                    for j in members
                ]
                for i in members
            ]
        )
    return found


def greedily(alike: list[list[list[int]]], count: int) -> list[int]:
    """Select by trying each token, in whole numbers."""
    sizes = [len(matrix) for matrix in alike]
    tokens = [(w, i) for w, size in enumerate(sizes) for i in range(size)]
    covered = [[0] * size for size in sizes]
    chosen: list[int] = []
    for _ in range(count):
        best = -1
        for number, (w, i) in enumerate(tokens):
            if number not in chosen:
                gain = sum(max(0, s - c) for s, c in zip(alike[w][i], covered[w], strict=True))
                if gain > best:
                    best, at = gain, number
        w, i = tokens[at]
        covered[w] = [max(s, c) for s, c in zip(alike[w][i], covered[w], strict=True)]
        chosen.append(at)
    return chosen


def whole_numbers(alike: list[torch.Tensor]) -> list[list[list[int]]]:
    return [(matrix.double() / SIMILARITY_STEP).long().tolist() for matrix in alike]


@pytest.mark.parametrize("window", [1, 3, 8])
@pytest.mark.parametrize("clip", CLIPS)
def test_similarity_is_its_definition(clip: str, window: int) -> None:
    tokens, frames = flat(clip)
    expected = alike_by_loops(tokens, frames.tolist(), window)
    found = similarities(tokens, frames, window)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # Half a step of rounding, and that of float32.
        torch.testing.assert_close(
            ours.double(), torch.tensor(theirs).double(), atol=ROUNDED, rtol=0
        )
        assert torch.equal(ours, ours.T)
        in_steps = ours.double() / SIMILARITY_STEP
        assert torch.equal(in_steps, in_steps.round())


@pytest.mark.parametrize("share", [0.05, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("clip", CLIPS)
def test_selection_is_greedy(clip: str, share: float) -> None:
    tokens, frames = flat(clip)
    alike = similarities(tokens, frames, 3)
    count = int(share * len(tokens))
    assert most_covering(alike, count).tolist() == greedily(whole_numbers(alike), count)


def test_frames_may_differ_in_length() -> None:
    frames = torch.tensor(UNEQUAL)
    tokens = torch.randn(len(frames), 6, generator=torch.Generator().manual_seed(3))
    alike = similarities(tokens, frames, 4)
    assert [len(matrix) for matrix in alike] == [8, 3, 9]
    for ours, theirs in zip(alike, alike_by_loops(tokens, UNEQUAL, 4), strict=True):
        torch.testing.assert_close(
            ours.double(), torch.tensor(theirs).double(), atol=ROUNDED, rtol=0
        )
    for count in range(len(tokens) + 1):
        kept = cover(tokens, frames, count, 4)
        assert kept.tolist() == sorted(greedily(whole_numbers(alike), count))


def test_it_is_within_its_bound_of_the_best_selection() -> None:
    frames = torch.arange(4).repeat_interleave(3)
    bound = 1 - 1 / math.e
    for seed in range(8):
        tokens = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed))
        [alike] = similarities(tokens, frames)

        def coverage(chosen: list[int], alike: torch.Tensor = alike) -> float:
            return float(alike[chosen].max(0).values.sum())

        for count in (1, 3, 5):
            best = max(coverage(list(some)) for some in itertools.combinations(range(12), count))
            assert bound * best <= coverage(cover(tokens, frames, count).tolist()) <= best


def test_of_static_frames_each_place_is_kept_once() -> None:
    places = torch.eye(9)  # none looks like another
    kept = cover(places.repeat(5, 1), torch.arange(5).repeat_interleave(9), 9)
    assert sorted((kept % 9).tolist()) == list(range(9))
    # Of equal frames the one in the middle is nearest to all.
    assert cover(places.repeat(5, 1), torch.arange(5).repeat_interleave(9), 1).tolist() == [18]
    assert cover(*flat("equal tokens"), 1).tolist() == [6]


def test_windows_compete_for_one_budget() -> None:
    """Still frames need one token a place, and the others go where there is more to see."""
    generator = torch.Generator().manual_seed(0)
    still = torch.randn(1, 10, 16, generator=generator).repeat(8, 1, 1)
    busy = torch.randn(8, 10, 16, generator=generator)
    tokens = torch.cat([still, busy]).flatten(0, 1)
    frames = torch.arange(16).repeat_interleave(10)
    in_still = [int((cover(tokens, frames, count) < 80).sum()) for count in (20, 80)]
    assert in_still == [10, 20]


def test_sums_stay_exact_in_large_windows() -> None:
    """Of more tokens than float32 can add up, each at the largest similarity that isn't 1."""
    size = 4096 + 200
    alike = torch.full((size, size), 1 - SIMILARITY_STEP)
    alike.fill_diagonal_(1)
    # One that stands for its window a step better, in the last column.
    alike[-1, 5] = alike[5, -1] = 1
    assert most_covering([alike], 2).tolist() == [5, 0]


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("clip", CLIPS)
def test_each_dropped_token_is_merged_into_the_most_similar_kept_one(
    clip: str, share: float
) -> None:
    tokens, frames = flat(clip)
    count = max(1, int(share * len(tokens)))
    selection = cover_and_merge(tokens, frames, count, 3)
    assert selection.kept.tolist() == cover(tokens, frames, count, 3).tolist()
    assert_means(selection, tokens, frames)


@pytest.mark.parametrize("clip", CLIPS)
def test_so_it_is_where_another_rule_has_kept_them(clip: str) -> None:
    tokens, frames = flat(clip)
    drawn = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(3))
    kept = drawn[: max(1, len(tokens) // 5)]
    selection = merge_into(tokens, frames, kept, 3)
    assert selection.kept.tolist() == sorted(kept.tolist())
    assert_means(selection, tokens, frames)


def assert_means(selection: Selection, tokens: torch.Tensor, frames: torch.Tensor) -> None:
    """Each kept token is the mean of itself and what is most like it, in windows of 3 frames."""
    kept, merged = selection.kept, selection.features
    assert merged is not None
    rows = tokens.double().tolist()
    members: dict[int, list[list[float]]] = {i: [rows[i]] for i in kept.tolist()}
    first = 0
    for matrix in whole_numbers(similarities(tokens, frames, 3)):
        inside = [i for i in members if first <= i < first + len(matrix)]
        for j in range(first, first + len(matrix)):
            if inside and j not in members:
                owner = max(inside, key=lambda i: (matrix[i - first][j - first], -i))
                members[owner].append(rows[j])
        first += len(matrix)
    for i, row in zip(kept.tolist(), merged, strict=True):
        channels = zip(*members[i], strict=True)
        expected = [math.fsum(channel) / len(members[i]) for channel in channels]
        torch.testing.assert_close(
            row.double(), torch.tensor(expected).double(), atol=1e-5, rtol=1e-5
        )


def test_nothing_is_kept_of_nothing() -> None:
    assert cover(*flat("noise"), 0).tolist() == []
