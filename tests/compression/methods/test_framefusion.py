"""FrameFusion against a loop over tokens, and on clips whose outcome is plain to see."""

from __future__ import annotations

import pytest

from dycoke_cli.compression.methods.framefusion import FrameFusion
from tests.compression.clips import BUDGETS, CLIPS, assert_selected, cosine, given, mean, single


def reference(frames: list, retain: float) -> dict[int, list[float]]:
    """The rule, a token at a time: runs of merged tokens, and the mean of each."""
    count, size = len(frames), len(frames[0])
    pairs = [
        (-single(cosine(frames[f][n], frames[f - 1][n])), f, n)
        for f in range(1, count)
        for n in range(size)
    ]
    goes = count * size - max(size, int(count * size * retain))
    merges = {(f, n) for _, f, n in sorted(pairs)[:goes]}
    found = {}
    for n in range(size):
        for f in range(count):
            if (f, n) not in merges:
                run = [frames[f][n]]
                while (f + len(run), n) in merges:
                    run.append(frames[f + len(run)][n])
                found[f * size + n] = mean(run)
    return found


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    for retain in BUDGETS:
        expected = reference(CLIPS[clip].double().tolist(), retain)
        assert_selected(FrameFusion(retain=retain).choose(given(clip)), expected)
