"""LLaVA-Scissor against loops: components by walking the graph, then edge by edge."""

from __future__ import annotations

import itertools

import pytest
import torch

from dycoke_cli.compression.methods.llava_scissor import Graph, LLaVAScissor
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    assert_selected,
    components,
    cosine,
    given,
    mean,
    single,
)

Token = tuple[int, list[float]]
"""Place in the video, and what it is."""


def similarities(tokens: list[Token]) -> list[list[float]]:
    alike = [[1.0] * len(tokens) for _ in tokens]
    for i, j in itertools.combinations(range(len(tokens)), 2):
        alike[i][j] = alike[j][i] = single(cosine(tokens[i][1], tokens[j][1], 1e-12))
    for i, (_, token) in enumerate(tokens):
        alike[i][i] = single(cosine(token, token, 1e-12))
    return alike


def walked(alike: list[list[float]], threshold: float) -> list[list[int]]:
    """The connected components of the graph of what is more similar than a threshold."""
    return components([[j for j, a in enumerate(row) if a > threshold] for row in alike])


def merged(
    tokens: list[Token], alike: list[list[float]], parts: list[list[int]], threshold: float
) -> list[Token]:
    degree = [sum(a > threshold for a in row) for row in alike]
    return sorted(
        (tokens[max(part, key=lambda i: (degree[i], -i))][0], mean([tokens[i][1] for i in part]))
        for part in parts
    )


class Clip:
    """What both steps leave at a threshold, computed once for each."""

    def __init__(self, frames: list) -> None:
        self.size = len(frames[0])
        self.tokens = [*enumerate(token for frame in frames for token in frame)]
        starts = range(0, len(self.tokens), self.size)
        self.frames = [self.tokens[at : at + self.size] for at in starts]
        self.inside = [similarities(frame) for frame in self.frames]
        self.known: dict[float, tuple[list[Token], list[list[float]], list[list[int]]]] = {}

    def at(self, threshold: float) -> tuple[list[Token], list[list[float]], list[list[int]]]:
        if threshold not in self.known:
            left = [
                token
                for frame, alike in zip(self.frames, self.inside, strict=True)
                for token in merged(frame, alike, walked(alike, threshold), threshold)
            ]
            alike = similarities(left)
            self.known[threshold] = left, alike, walked(alike, threshold)
        return self.known[threshold]

    def kept(self, count: int) -> dict[int, list[float]]:
        low, high = -1.0, 1.0
        for _ in range(11):
            middle = (low + high) / 2
            if len(self.at(middle)[2]) < count:
                low = middle
            else:
                high = middle
        left, alike, parts = self.at(high)
        edges = itertools.combinations(range(len(left)), 2)
        for i, j in sorted(edges, key=lambda edge: (-alike[edge[0]][edge[1]], edge)):
            if len(parts) <= count:
                break
            one, other = (next(part for part in parts if at in part) for at in (i, j))
            if one is not other:
                parts = [part for part in parts if part not in (one, other)] + [one + other]
        survivors = merged(left, alike, parts, high)
        went: dict[int, list[list[float]]] = {place: [token] for place, token in survivors}
        for _, token in self.tokens:
            near = [(-single(cosine(token, one, 1e-12)), place) for place, one in survivors]
            went[min(near)[1]].append(token)
        return {place: mean(tokens) for place, tokens in went.items()}


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    frames = CLIPS[clip].double().tolist()
    expected = Clip(frames)
    for retain in BUDGETS[::2]:
        count = max(1, int(len(frames) * len(frames[0]) * retain))
        selection = LLaVAScissor(retain=retain).choose(given(clip))
        assert_selected(selection, expected.kept(count))
        assert selection.into is not None
        assert torch.equal(selection.into[selection.kept], selection.kept)


@pytest.mark.parametrize("clip", ["noise", "drift", "static"])
def test_the_forest_has_the_components_of_the_graph(clip: str) -> None:
    tokens = CLIPS[clip].double().flatten(0, 1)
    graph = Graph(tokens[None])
    alike = similarities([*enumerate(tokens.tolist())])
    for threshold in (-0.9, -0.3, 0.0, 0.2, 0.5, 0.9):
        parts = walked(alike, threshold)
        _, places = graph.components(graph.edges_above(threshold), threshold)
        assert len(parts) == len(places)
        assert all(sum(place in part for place in places.tolist()) == 1 for part in parts)
