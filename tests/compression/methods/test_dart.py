"""DART against loops over pivots and tokens."""

from __future__ import annotations

import math

import pytest

from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.compression.methods.dart import DART
from tests.compression.clips import BUDGETS, CLIPS, Frames, cosine, floats, single


def reference(frames: Frames, retain: float, pivots: int) -> list[int]:
    """The rule, a pivot at a time."""
    tokens = [token for frame in frames for token in frame]
    target = max(1, int(len(tokens) * retain))
    sizes = [single(math.fsum(abs(x) for x in token)) for token in tokens]
    chosen = sorted(range(len(tokens)), key=lambda n: (-sizes[n], n))[: min(pivots, target)]
    chosen.sort()
    kept, rest = list(chosen), target - len(chosen)
    ends = [tokens[pivot] for pivot in chosen]
    for number, end in enumerate(ends):
        quota = (number + 1) * rest // len(ends) - number * rest // len(ends)
        others = [n for n in range(len(tokens)) if n not in kept]
        others.sort(key=lambda n: (single(cosine(tokens[n], end, 1e-12)), n))
        kept += others[:quota]
    return sorted(kept)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("pivots", [1, 3, 8])
def test_it_is_the_rule_by_loops(clip: str, pivots: int) -> None:
    for retain in BUDGETS:
        chosen = (
            DART(retain=retain, pivots=pivots).choose(SelectionInputs(CLIPS[clip])).kept.tolist()
        )
        assert chosen == reference(floats(clip), retain, pivots), retain
