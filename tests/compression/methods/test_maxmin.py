"""The max-min rule against loops over pairs."""

from __future__ import annotations

from itertools import combinations

import pytest

from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.compression.methods.maxmin import MaxMin
from tests.compression.clips import BUDGETS, CLIPS, Frames, cosine, floats, single


def reference(frames: Frames, count: int) -> list[int]:
    tokens = [token for frame in frames for token in frame]
    alike = {(n, n): -2.0 for n in range(len(tokens))}
    for a, b in combinations(range(len(tokens)), 2):
        alike[a, b] = alike[b, a] = single(cosine(tokens[a], tokens[b], 1e-12))
    others = range(len(tokens))
    chosen = [min(others, key=lambda n: (max(alike[n, m] for m in others), n))]
    while len(chosen) < count:
        left = [n for n in others if n not in chosen]
        chosen.append(min(left, key=lambda n: (max(alike[n, m] for m in chosen), n)))
    return sorted(chosen)


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    for retain in BUDGETS:
        kept = MaxMin(retain=retain).choose(SelectionInputs(CLIPS[clip])).kept.tolist()
        tokens = CLIPS[clip].flatten(0, 1)
        assert kept == reference(floats(clip), max(1, int(len(tokens) * retain))), retain
