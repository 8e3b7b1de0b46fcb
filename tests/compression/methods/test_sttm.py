"""STTM against trees of lists and a search of their graph, and on clips with a plain outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch

from dycoke_cli.compression.methods.sttm import STTM, quadtree
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    Frames,
    assert_selected,
    components,
    cosine,
    floats,
    given,
    mean,
    side,
    single,
)


@dataclass(frozen=True)
class Node:
    """A part of a frame, its mean, and the nodes that it is made of."""

    frame: int
    places: frozenset[int]
    token: list[float]
    children: list[Node] = field(default_factory=list)

    def first(self, size: int) -> int:
        return self.frame * size + min(self.places)

    def whole(self, tau: float) -> list[Node]:
        """This node, or those that it is split into."""
        alike = [single(cosine(child.token, self.token)) for child in self.children]
        if not self.children or min(alike) >= single(tau):
            return [self]
        return [node for child in self.children for node in child.whole(tau)]


def pairs_of(length: int) -> list[range]:
    """Numbers two by two, of an odd number the first alone."""
    odd = length % 2
    return [range(1)] * odd + [range(i, i + 2) for i in range(odd, length, 2)]


def largest(frame: int, tokens: list[list[float]]) -> list[Node]:
    """The largest nodes of a frame."""
    height = side(len(tokens))
    width = len(tokens) // height
    rows = [
        [Node(frame, frozenset([r * width + c]), tokens[r * width + c]) for c in range(width)]
        for r in range(height)
    ]
    is_first = True
    while is_first or (-(-len(rows) // 2) > 2 and -(-len(rows[0]) // 2) > 2):
        is_first, above = False, []
        for down in pairs_of(len(rows)):
            row = []
            for across in pairs_of(len(rows[0])):
                children = [rows[r][c] for r in down for c in across]
                places = frozenset().union(*(child.places for child in children))
                row.append(Node(frame, places, mean([c.token for c in children]), children))
            above.append(row)
        rows = above
    return [node for row in rows for node in row]


def linked(nodes: list[Node]) -> list[tuple[float, int, int]]:
    """Every node within one of the next frame, or the other way: likeness, and their numbers."""
    found = []
    for i, one in enumerate(nodes):
        for j, other in enumerate(nodes):
            nested = one.places <= other.places or other.places <= one.places
            if other.frame == one.frame + 1 and nested:
                found.append((single(cosine(one.token, other.token)), i, j))
    return found


def groups(count: int, links: list[tuple[int, int]]) -> list[list[int]]:
    """What can be reached from each number by links."""
    near = [[sum(link) - here for link in links if here in link] for here in range(count)]
    return components(near)


def reference(
    frames: Frames, retain: float, threshold: float
) -> tuple[dict[int, list[float]], dict[int, int]]:
    """The rule, a node at a time: what is kept, and where each token went."""
    size = len(frames[0])
    budget = max(1, int(len(frames) * size * retain))
    roots = [root for f, frame in enumerate(frames) for root in largest(f, frame)]

    def at(tau: float) -> list[Node]:
        nodes = [node for root in roots for node in root.whole(tau)]
        return sorted(nodes, key=lambda node: node.first(size))

    low, high = 0, 101
    while low < high:
        middle = (low + high) // 2
        nodes = at(middle / 100)
        links = [(i, j) for alike, i, j in linked(nodes) if alike >= single(threshold)]
        if len(groups(len(nodes), links)) >= budget:
            high = middle
        else:
            low = middle + 1
    nodes = at(low / 100)

    def order(link: tuple[float, int, int]) -> tuple[float, int, int]:
        alike, i, j = link
        return -alike, nodes[j].frame, min(nodes[i].places & nodes[j].places)

    links = []
    for _, i, j in sorted(linked(nodes), key=order):
        if len(groups(len(nodes), links)) == budget:
            break
        links.append((i, j))
    found = groups(len(nodes), links)
    tokens = [mean([nodes[i].token for i in group]) for group in found]
    beside = [(-single(cosine(a, b)), n) for n, (a, b) in enumerate(pairwise(tokens))]
    for _, n in sorted(beside)[: len(found) - budget]:
        links.append((found[n][0], found[n + 1][0]))
    kept, into = {}, {}
    for group in groups(len(nodes), links):
        first = min(nodes[i].first(size) for i in group)
        kept[first] = mean([nodes[i].token for i in group])
        into |= {nodes[i].frame * size + place: first for i in group for place in nodes[i].places}
    return kept, into


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("threshold", [0.6, 0.95])
def test_it_is_the_rule_by_loops(clip: str, threshold: float) -> None:
    for retain in BUDGETS:
        selection = STTM(retain=retain, merge_threshold=threshold).choose(given(clip))
        kept, into = reference(floats(clip), retain, threshold)
        assert_selected(selection, kept)
        assert selection.into is not None
        assert selection.into.tolist() == [into[token] for token in range(len(into))]


@pytest.mark.parametrize(
    ("size", "grids"),
    [(196, [14, 7, 4]), (64, [8, 4]), (16, [4, 2]), (169, [13, 7, 4]), (576, [24, 12, 6, 3])],
)
def test_the_levels_of_square_grids(size: int, grids: list[int]) -> None:
    cells, pooling, parents = quadtree(size)
    assert [len(level.unique()) for level in cells] == [side**2 for side in grids]
    assert pooling.shape == (sum(side**2 for side in grids), size)
    torch.testing.assert_close(pooling.sum(-1), torch.ones(len(pooling)).double())
    assert len(parents) == len(pooling) - grids[-1] ** 2
