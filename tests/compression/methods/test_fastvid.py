"""FastVID against loops over tokens."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from dycoke_cli.compression.methods.fastvid import FastVID
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    assert_selected,
    by_segments,
    cosine,
    evenly_shared,
    given,
    mean,
    peaks,
    single,
)


def of_segment(
    frames: list, attention: list, counts: list[int], method: FastVID
) -> dict[int, list[float]]:
    """The tokens kept of a segment, and what they become."""
    size, found = len(frames[0]), {}
    aside = [int(method.contextual * count) for count in counts]
    rest = []
    for t, frame in enumerate(frames):
        ranked = sorted(range(size), key=lambda n, t=t: (-attention[t][n], n))
        salient = ranked[: counts[t] - aside[t]]
        found |= {t * size + n: frame[n] for n in salient}
        rest.append([n for n in range(size) if n not in salient])
    every = method.anchor_every
    while True:
        # Frames whose distance from the last is a multiple.
        anchors = [t for t in range(len(frames)) if (len(frames) - 1 - t) % every == 0]
        quotas = evenly_shared(sum(aside), len(anchors))
        if all(q <= len(rest[t]) for t, q in zip(anchors, quotas, strict=True)):
            break
        every -= 1
    for t, quota in zip(anchors, quotas, strict=True):
        if not quota:
            continue
        own = [frames[t][n] for n in rest[t]]
        whole = [frames[u][n] for u in range(len(frames)) for n in rest[u]]
        targets = peaks(own, quota, min(4, len(own)))
        members: dict[int, list] = {c: [] for c in targets}
        for token in own if len(anchors) == len(frames) else whole:
            like = [single(cosine(token, own[c], 1e-12)) for c in targets]
            members[targets[like.index(max(like))]].append(token)
        for c in targets:
            other = mean(members[c]) if members[c] else own[c]
            weight = method.anchor_weight
            found[t * size + rest[t][c]] = [
                weight * x + (1 - weight) * y for x, y in zip(own[c], other, strict=True)
            ]
    return found


OPTIONS: list[dict[str, float]] = [
    {},
    {"min_segments": 1, "segment_threshold": -1.0},
    {"min_segments": 2, "segment_threshold": 0.3, "contextual": 0.7, "anchor_weight": 0.2},
]


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    of_clip = given(clip)
    lists = [x.double().tolist() for x in (of_clip.features, of_clip.attention)]
    for retain, options in product(BUDGETS, OPTIONS):
        method = FastVID(retain=retain, **options)
        assert_selected(method.choose(of_clip), by_segments(*lists, retain, method, of_segment))


def test_the_published_setting_of_a_frame_of_196() -> None:
    """12 salient tokens a frame; the 7 of each of five frames go to the last and the first."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(5, 196, 4, generator=generator)
    of_clip = type(given("noise"))(features, torch.rand(5, 196, generator=generator))
    method = FastVID(retain=19 / 196, min_segments=1, segment_threshold=-1.0)
    kept = (method.choose(of_clip).kept // 196).bincount(minlength=5).tolist()
    assert kept == [29, 12, 12, 12, 30]
