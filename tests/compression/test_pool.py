"""The pool of a long video's tokens, against loops over tokens."""

from __future__ import annotations

import pytest
import torch

from dycoke_cli.compression import pool
from dycoke_cli.compression.coverage import SIMILARITY_STEP, alike_in, most_covering
from dycoke_cli.compression.pool import Pool, PooledTokens

PER_FRAME = 4


def random_tokens(count: int, seed: int = 0) -> PooledTokens:
    """Every second token of a video, each with a number that it stands for."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    counts = torch.randint(1, 9, (count,), generator=generator)
    return PooledTokens(2 * torch.arange(count), features, (features * 10,), counts)


def weighted_greedily(alike: list[list[int]], weights: list[int], count: int) -> list[int]:
    """Select by trying each token, in whole numbers."""
    covered, chosen = [0] * len(alike), list[int]()
    for _ in range(count):
        gains = {
            i: sum(w * max(0, s - c) for w, s, c in zip(weights, row, covered, strict=True))
            for i, row in enumerate(alike)
            if i not in chosen
        }
        best = max(gains, key=lambda i: (gains[i], -i))
        covered = [max(s, c) for s, c in zip(alike[best], covered, strict=True)]
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_a_token_counts_for_as_many_as_it_stands_for(seed: int) -> None:
    tokens = random_tokens(40, seed)
    assert tokens.counts is not None
    [alike] = alike_in(tokens.features, torch.arange(40) / 40, [40])
    whole = (alike.double() / SIMILARITY_STEP).long().tolist()
    expected = weighted_greedily(whole, tokens.counts.tolist(), 12)
    assert most_covering([alike], 12, tokens.counts).tolist() == expected
    once = torch.ones(40, dtype=torch.int64)
    assert torch.equal(most_covering([alike], 12, once), most_covering([alike], 12))


@pytest.mark.parametrize("per_frame", [PER_FRAME, 20, 29])
def test_the_others_are_merged_into_those_that_stay(per_frame: int) -> None:
    tokens = random_tokens(30)
    assert tokens.counts is not None
    thinned = tokens.at_most(7, per_frame)
    frames = tokens.kept // per_frame
    span = int(frames[-1] - frames[0]) + 1
    [alike] = alike_in(tokens.features, frames / span, [30])
    stay = sorted(most_covering([alike], 7, tokens.counts).tolist())
    assert thinned.kept.tolist() == [int(tokens.kept[i]) for i in stay]
    owner = [i if i in stay else max(stay, key=lambda k: (alike[k, i], -k)) for i in range(30)]
    for at, i in enumerate(stay):
        mine = [j for j in range(30) if owner[j] == i]
        numbers = tokens.counts[mine]
        assert thinned.counts is not None
        assert thinned.counts[at] == numbers.sum()
        mean = (tokens.features[mine] * numbers[:, None]).sum(0) / numbers.sum()
        torch.testing.assert_close(thinned.features[at], mean)
        # What DeepStack adds isn't merged.
        assert torch.equal(thinned.deepstack[0][at], tokens.deepstack[0][i])


def test_the_order_in_which_a_window_kept_its_tokens_changes_nothing() -> None:
    tokens = random_tokens(30)
    assert tokens.counts is not None
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    shuffled = PooledTokens(
        tokens.kept[order], tokens.features[order], (tokens.deepstack[0][order],),
        tokens.counts[order],
    )  # fmt: skip
    one, other = (each.at_most(7, PER_FRAME) for each in (tokens, shuffled))
    for name in ("kept", "features", "counts"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.deepstack[0], other.deepstack[0])


def test_none_is_lost_and_none_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PART", 16)
    tokens = random_tokens(100)
    assert tokens.counts is not None
    thinned = tokens.at_most(60, PER_FRAME)
    assert thinned.counts is not None
    assert len(thinned) == 60 == len(set(thinned.kept.tolist()))
    assert thinned.counts.sum() == tokens.counts.sum()
    assert thinned.kept.tolist() == sorted(thinned.kept.tolist())


def test_under_the_cap_nothing_changes() -> None:
    held = Pool(cap=64, per_frame=PER_FRAME)
    parts = [random_tokens(20, seed) for seed in range(3)]
    for part in parts:
        held.add(part)
    joined = held.tokens()
    assert joined.at_most(64, PER_FRAME) is joined
    for name in ("kept", "features", "counts"):
        assert torch.equal(getattr(joined, name), torch.cat([getattr(p, name) for p in parts]))


def test_it_never_holds_more_than_twice_the_cap() -> None:
    held, total = Pool(cap=16, per_frame=PER_FRAME), 0
    for seed in range(20):
        part = random_tokens(10, seed)
        part = PooledTokens(part.kept + 20 * seed, part.features, part.deepstack, part.counts)
        assert part.counts is not None
        total += int(part.counts.sum())
        held.add(part)
        assert len(held.tokens()) <= 2 * 16
    counts = held.tokens().at_most(16, PER_FRAME).counts
    assert counts is not None
    assert counts.sum() == total
