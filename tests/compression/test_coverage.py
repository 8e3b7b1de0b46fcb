"""Coverage against loops over tokens, and against the best of all selections."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dycoke_cli.compression.coverage import (
    DISTANCE_STEP,
    SIMILARITY_STEP,
    merged,
    most_covering,
    similarities,
)
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from tests.compression.clips import CLIPS, cosine

# By half a step of each, and by float32.
ROUNDED = DISTANCE_STEP / 2 + SIMILARITY_STEP / 2 + 2e-4


def alike_by_loops(features: torch.Tensor, window: int) -> list[list[list[float]]]:
    """The similarities, from the definition."""
    rows = features.flatten(0, 1).double().tolist()
    frames = [frame for frame, tokens in enumerate(features) for _ in tokens]
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


def cover(features: torch.Tensor, count: int, window: int = 8) -> list[int]:
    """The tokens that represent all of them best."""
    return sorted(most_covering(similarities(features, window), count).tolist())


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
    expected = alike_by_loops(CLIPS[clip], window)
    found = similarities(CLIPS[clip], window)
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
    alike = similarities(CLIPS[clip], 3)
    count = int(share * sum(map(len, alike)))
    assert most_covering(alike, count).tolist() == greedily(whole_numbers(alike), count)


def test_it_is_within_its_bound_of_the_best_selection() -> None:
    bound = 1 - 1 / math.e
    for seed in range(8):
        features = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(seed))
        [alike] = similarities(features)

        def coverage(chosen: list[int], alike: torch.Tensor = alike) -> float:
            return float(alike[chosen].max(0).values.sum())

        for count in (1, 3, 5):
            best = max(coverage(list(some)) for some in itertools.combinations(range(12), count))
            assert bound * best <= coverage(cover(features, count)) <= best


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
    features = CLIPS[clip]
    count = max(1, int(share * features.shape[:2].numel()))
    given = SelectionInputs(features)
    selection = DyCokePlus(retain=count / features.shape[:2].numel(), window=3).choose(given)
    if count < features.shape[:2].numel():
        assert selection.kept.tolist() == cover(features, count, 3)
        assert_means(selection, features, 3)


@pytest.mark.parametrize("clip", CLIPS)
def test_so_it_is_where_another_rule_has_kept_them(clip: str) -> None:
    tokens = CLIPS[clip].flatten(0, 1)
    drawn = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(3))
    kept = drawn[: max(1, len(tokens) // 5)].sort().values
    alike = similarities(CLIPS[clip], 3)
    assert_means(merged(tokens, alike, kept), CLIPS[clip], 3)


def assert_means(selection: Selection, features: torch.Tensor, window: int) -> None:
    """Each kept token is the mean of itself and what is most like it, in its window of frames."""
    kept, means = selection.kept, selection.features
    assert means is not None
    rows = features.flatten(0, 1).double().tolist()
    members: dict[int, list[list[float]]] = {i: [rows[i]] for i in kept.tolist()}
    first = 0
    for matrix in whole_numbers(similarities(features, window)):
        inside = [i for i in members if first <= i < first + len(matrix)]
        for j in range(first, first + len(matrix)):
            if inside and j not in members:
                owner = max(inside, key=lambda i: (matrix[i - first][j - first], -i))
                members[owner].append(rows[j])
        first += len(matrix)
    for i, row in zip(kept.tolist(), means, strict=True):
        channels = zip(*members[i], strict=True)
        expected = [math.fsum(channel) / len(members[i]) for channel in channels]
        torch.testing.assert_close(
            row.double(), torch.tensor(expected).double(), atol=1e-5, rtol=1e-5
        )
