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


def test_what_moves_stays() -> None:
    # Of frame f the token at f + 1, where it is new, and at f, where it was.
    moved = [9 * f + n for f in range(1, 6) for n in (f, f + 1)]
    kept = EVS(retain=(9 + 10) / 54).select(CLIPS["moving"]).tolist()
    assert kept == [*range(9), *moved]


def test_of_static_footage_the_earliest_tokens_stay() -> None:
    assert EVS(retain=20 / 55).select(CLIPS["static"]).tolist() == [*range(20)]


def test_the_first_frame_is_the_least_that_stays() -> None:
    assert EVS(retain=0.01).select(CLIPS["noise"]).tolist() == [*range(12)]
    assert EVS(retain=0.01).kept_tokens(7, 12) == 12
