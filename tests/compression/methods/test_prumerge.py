"""PruMerge and PruMerge+ against loops over tokens."""

from __future__ import annotations

import pytest

from dycoke_cli.compression.methods.prumerge import PruMerge, PruMergePlus
from tests.compression.clips import (
    BUDGETS,
    CLIPS,
    assert_selected,
    cosine,
    evenly_shared,
    given,
    single,
)


def added(token: list[float], parts: list[tuple[float, list[float]]]) -> list[float]:
    return [x + sum(w * other[c] for w, other in parts) for c, x in enumerate(token)]


def reference(
    frames: list, attention: list, keys: list, retain: float, plus: bool
) -> dict[int, list[float]]:
    """The rule, a token at a time."""
    size, found = len(frames[0]), {}
    total = max(1, int(len(frames) * size * retain))
    for f, wanted in enumerate(evenly_shared(total, len(frames))):
        shares = [a / sum(attention[f]) for a in attention[f]]
        ranked = sorted(range(size), key=lambda n, f=f: (-attention[f][n], n))
        count = wanted - 1 if 1 < wanted < size else wanted
        kept = ranked[:count]
        if plus:
            kept = ranked[: (count + 3) // 4]
            others = [n for n in range(size) if n not in kept]
            more = count - len(kept)
            kept = kept + [others[(2 * i + 1) * len(others) // (2 * more)] for i in range(more)]
        for n in kept:
            like = [(-single(cosine(keys[f][n], keys[f][o], 1e-12)), o) for o in range(size)]
            cluster = sorted(pair for pair in like if pair[1] != n)[
                : max(1, round(size * 32 / 576))
            ]
            parts = [(shares[o], frames[f][o]) for _, o in cluster]
            found[f * size + n] = added(frames[f][n], parts)
        if count < wanted:
            rest = [n for n in ranked if n not in kept]
            zero = [0.0] * len(frames[f][0])
            found[f * size + rest[0]] = added(zero, [(shares[n], frames[f][n]) for n in rest])
    return found


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("method", [PruMerge, PruMergePlus])
def test_it_is_the_rule_by_loops(clip: str, method: type[PruMerge]) -> None:
    of_clip = given(clip)
    lists = [x.double().tolist() for x in (of_clip.features, of_clip.attention, of_clip.keys)]
    for retain in BUDGETS:
        selection = method(retain=retain).choose(of_clip)
        assert_selected(selection, reference(*lists, retain, method is PruMergePlus))


def test_a_large_frame_merges_several_tokens_into_each() -> None:
    import torch

    of_clip = given("noise")
    large = type(of_clip)(torch.randn(2, 60, 4), torch.rand(2, 60), torch.randn(2, 60, 3))
    lists = [x.double().tolist() for x in (large.features, large.attention, large.keys)]
    for method in (PruMerge, PruMergePlus):
        selection = method(retain=0.2).choose(large)
        assert_selected(selection, reference(*lists, 0.2, method is PruMergePlus))
