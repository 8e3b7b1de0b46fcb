"""EVS against a loop over tokens, and on clips whose outcome is plain to see."""

from __future__ import annotations

import pytest

from dycoke_cli.compression.methods.evs import EVS
from tests.compression.clips import BUDGETS, CLIPS, Frames, cosine, floats, single


def reference(frames: Frames, retain: float) -> list[int]:
    """The rule, a token at a time."""
    count, size = len(frames), len(frames[0])
    changes = []
    for f in range(count):
        for n in range(size):
            change = 255.0 if f == 0 else 1 - single(cosine(frames[f][n], frames[f - 1][n]))
            changes.append((-change, f * size + n))
    return sorted(n for _, n in sorted(changes)[: max(size, int(count * size * retain))])


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    for retain in BUDGETS:
        assert EVS(retain=retain).select(CLIPS[clip]).tolist() == reference(floats(clip), retain)
