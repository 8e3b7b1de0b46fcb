"""The rule on tensors: axes, 8-bit coordinates, approximate scores and attention by them."""

from __future__ import annotations

import pytest
import torch

from benchmarks.decode_rules.key_index import KeyIndex
from tests.benchmarks.key_reference import approximate, attention

SHAPES = [
    # query heads, KV heads, visual tokens, other tokens, size of a head
    (4, 2, 20, 6, 16),
    (6, 1, 33, 3, 8),
    (3, 3, 1, 1, 64),
    (8, 2, 300, 40, 64),
    (2, 1, 9, 2, 4),
]


def made(shape, seed: int = 0):
    """A query [1, Hq, D], keys of text [Hk, T, D] and visual ones [Hk, V, D], float64."""
    heads, kv_heads, visual, text, width = shape
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        torch.randn(*size, width, generator=generator, dtype=torch.float64)
        for size in ((1, heads), (kv_heads, text), (kv_heads, visual))
    ]
    # Keys that lie off zero and along a few directions, as those of a model do.
    slopes = torch.linspace(3, 0.2, width, dtype=torch.float64)
    return drawn[0], drawn[1], drawn[2] * slopes + 1.5


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_those_of_a_loop(shape) -> None:
    query, _, keys = made(shape)
    heads, kv_heads, width = shape[0], shape[1], shape[4]
    index = KeyIndex.of(keys)
    scores = index.scores(query.view(kv_heads, -1, width))
    expected = torch.stack([
        torch.from_numpy(approximate(keys[h].numpy())) @ query[0, h * (heads // kv_heads) + g]
        for h in range(kv_heads) for g in range(heads // kv_heads)
    ])  # fmt: skip
    assert (scores.dtype, index.codes.dtype) == (torch.float32, torch.int8)
    found = scores.view(heads, -1).double()
    # A coordinate on the edge between two numbers may be rounded either way in float32.
    step = float(index.directions[..., :-1].norm(dim=1).max() * query.norm(dim=-1).max())
    assert torch.quantile((found - expected).abs(), 0.95) <= 1e-4 * float(expected.abs().max())
    assert (found - expected).abs().max() <= step + 1e-4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_head", [False, True])
def test_attention_is_that_of_a_loop(shape, per_head) -> None:
    """Of a step that sees all of the text, and of one that sees only its first token."""
    query, text, keys = made(shape, seed=3)
    scaling = shape[4] ** -0.5
    is_text = torch.ones(2, shape[3], dtype=torch.bool)
    is_text[1, 1:] = False
    steps = query.expand(2, -1, -1)
    found = KeyIndex.of(keys).attention(steps, text, scaling, is_text, per_head=per_head)
    for step in range(2):
        every = torch.cat([keys, text[:, is_text[step]]], 1).numpy()
        of_heads = attention(query[0].numpy(), every, list(range(shape[2])), scaling)
        expected = torch.tensor(of_heads).view(shape[1] if per_head else 1, -1, shape[2]).mean(1)
        torch.testing.assert_close(found[step].double(), expected.double(), atol=2e-3, rtol=0)
