"""VisionZip against loops over tokens."""

from __future__ import annotations

import pytest

from dycoke_cli.compression.methods.visionzip import VisionZip
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    assert_selected,
    cosine,
    evenly_shared,
    given,
    mean,
    single,
)


def reference(
    frames: list, attention: list, keys: list, retain: float, contextual: float
) -> dict[int, list[float]]:
    """The rule, a token at a time."""
    size, found = len(frames[0]), {}
    total = max(1, int(len(frames) * size * retain))
    for f, wanted in enumerate(evenly_shared(total, len(frames))):
        dominant = min(wanted, max(1, int(wanted * (1 - contextual))))
        ranked = sorted(range(size), key=lambda n, f=f: (-attention[f][n], n))
        kept = ranked[:dominant]
        for n in kept:
            found[f * size + n] = frames[f][n]
        rest = [n for n in range(size) if n not in kept]
        if wanted == dominant:
            continue
        step = max(1, len(rest) // (wanted - dominant))
        targets = rest[::step][: wanted - dominant]
        merged: dict[int, list] = {t: [] for t in targets}
        for n in rest:
            if n not in targets:
                like = [single(cosine(keys[f][n], keys[f][t], 1e-12)) for t in targets]
                merged[targets[like.index(max(like))]].append(frames[f][n])
        for t, others in merged.items():
            extra = mean(others) if others else [0.0] * len(frames[f][t])
            found[f * size + t] = [x + y for x, y in zip(frames[f][t], extra, strict=True)]
    return found


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("contextual", [10 / 64, 0.0, 0.7])
def test_it_is_the_rule_by_loops(clip: str, contextual: float) -> None:
    of_clip = given(clip)
    lists = [x.double().tolist() for x in (of_clip.features, of_clip.attention, of_clip.keys)]
    for retain in BUDGETS:
        selection = VisionZip(retain=retain, contextual=contextual).choose(of_clip)
        assert_selected(selection, reference(*lists, retain, contextual))
