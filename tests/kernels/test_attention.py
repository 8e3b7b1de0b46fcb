"""Each shape of attention against scores, softmax and sum written out in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from dycoke_cli.kernels import attention
from dycoke_cli.kernels.attention import (
    bidirectional_attention,
    causal_attention,
    decode_attention,
    odd_heads,
    query_block,
)
from tests.exactness import assert_same

SCALE = 0.3


def drawn(heads: int, rows: int, size: int, batch: int = 2, dtype=torch.float64) -> torch.Tensor:
    """Strided, as projections hand them out."""
    return torch.randn(batch, rows, heads, size, dtype=dtype).transpose(1, 2)


def by_hand(query, key, value, seen=None) -> torch.Tensor:
    """[B, N, Hq, E], a head at a time."""
    query, key, value = query.double(), key.double(), value.double()
    group = query.shape[1] // key.shape[1]
    heads = []
    for i in range(query.shape[1]):
        scores = query[:, i] @ key[:, i // group].transpose(1, 2) * SCALE
        if seen is not None:
            scores = scores.masked_fill(~seen, float("-inf"))
        heads.append(scores.softmax(-1) @ value[:, i // group])
    return torch.stack(heads, 2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize(("rows", "keys"), [(70, 70), (33, 70), (1, 70), (256, 256), (2, 2)])
def test_causal(shared: int, rows: int, keys: int, monkeypatch) -> None:
    monkeypatch.setattr(attention, "MAX_CAUSAL_SCORES", 1)  # the smallest blocks
    query, key, value = drawn(4, rows, 8), drawn(shared, keys, 8), drawn(shared, keys, 6)
    seen = torch.ones(rows, keys, dtype=torch.bool).tril(keys - rows)
    found = causal_attention(query, key, value, SCALE)
    assert_same(found, by_hand(query, key, value, seen))


def test_blocks_get_smaller_where_there_are_more_keys() -> None:
    lengths = (100, 3_000, 6_000, 30_000, 10**6)
    sizes = [query_block(7, keys) for keys in lengths]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == attention.MAX_QUERIES
    assert sizes[-1] == attention.MIN_QUERIES
    fit = [7 * n * k <= attention.MAX_CAUSAL_SCORES for n, k in zip(sizes, lengths, strict=True)]
    assert fit == [True, True, True, False, False]


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_single(shared: int, masked: bool) -> None:
    query, key, value = drawn(4, 1, 8), drawn(shared, 50, 8), drawn(shared, 50, 8)
    seen = torch.rand(2, 1, 50) > 0.5 if masked else None
    mask = None if seen is None else seen[:, None]
    found = decode_attention(query, key, value, SCALE, mask)
    expected = by_hand(query, key, value, seen)
    assert_same(found, expected)


@pytest.mark.parametrize("heads", [1, 3, 16])
def test_bidirectional(heads: int, monkeypatch) -> None:
    monkeypatch.setattr(attention, "MAX_BIDIRECTIONAL_SCORES", 2 * 30 * 20)  # two heads at a time
    query, key, value = drawn(heads, 30, 12), drawn(heads, 20, 12), drawn(heads, 20, 12)
    found = bidirectional_attention(query, key, value, SCALE)
    expected = by_hand(query, key, value)
    assert_same(found, expected)
    assert odd_heads(query)
    assert not odd_heads(drawn(1, 1, 64))


def test_in_bfloat16_it_is_as_near_to_the_truth_as_eager_attention() -> None:
    """Scores are rounded to bfloat16, as by transformers' own plain attention; SDPA keeps more."""
    query, key, value = (drawn(4, 300, 64, 1, torch.bfloat16) for _ in range(3))
    seen = torch.ones(300, 300, dtype=torch.bool).tril()
    truth = by_hand(query, key, value, seen)
    scores = (query @ key.mT * SCALE).masked_fill(~seen, float("-inf"))
    eager = (scores.softmax(-1, dtype=torch.float32).bfloat16() @ value).transpose(1, 2)
    stock = scaled_dot_product_attention(query, key, value, is_causal=True, scale=SCALE)
    ours = causal_attention(query, key, value, SCALE)
    error, eagers, stocks = (
        float((found.double() - truth).abs().mean())
        for found in (ours, eager, stock.transpose(1, 2))
    )
    assert error < 1.2 * eagers
    assert error < 4 * stocks
