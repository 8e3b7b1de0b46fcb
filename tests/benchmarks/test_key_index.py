"""The rule on tensors: axes, 8-bit coordinates, approximate scores and what is selected by them."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.decode_rules.key_index import KeyIndex, KeySelector, top_of_each
from tests.benchmarks.key_reference import approximate, attention, selected

SHAPES = [
    # query heads, KV heads, visual tokens, other tokens, size of a head
    (4, 2, 20, 6, 16),
    (6, 1, 33, 3, 8),
    (2, 2, 2, 4, 32),
    (3, 3, 1, 1, 64),
    (8, 2, 300, 40, 64),
    (2, 1, 9, 2, 4),
]


def made(shape, seed: int = 0):
    """A query [1, Hq, 1, D], keys of text [1, Hk, T, D] and visual ones [Hk, V, D], float64."""
    heads, kv_heads, visual, text, width = shape
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        torch.randn(*size, width, generator=generator, dtype=torch.float64)
        for size in ((1, heads, 1), (1, kv_heads, text), (kv_heads, visual))
    ]
    # Keys that lie off zero and along a few directions, as those of a model do.
    slopes = torch.linspace(3, 0.2, width, dtype=torch.float64)
    return drawn[0], drawn[1], drawn[2] * slopes + 1.5


def indexed(keys: torch.Tensor) -> KeyIndex:
    return KeySelector().index([keys])


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_those_of_a_loop(shape) -> None:
    query, _, keys = made(shape)
    heads, kv_heads, width = shape[0], shape[1], shape[4]
    index = indexed(keys)
    scores = index.scores(query.view(1, kv_heads, -1, width))
    expected = torch.stack([
        torch.from_numpy(approximate(keys[h].numpy())) @ query[0, h * (heads // kv_heads) + g, 0]
        for h in range(kv_heads) for g in range(heads // kv_heads)
    ])  # fmt: skip
    assert scores.dtype == torch.float32
    found = scores.view(heads, -1).double()
    # A coordinate on the edge between two numbers may be rounded either way in float32.
    step = float(index.directions[..., :-1].norm(dim=2).max() * query.norm(dim=-1).max())
    assert torch.quantile((found - expected).abs(), 0.95) <= 1e-4 * float(expected.abs().max())
    assert (found - expected).abs().max() <= step + 1e-4


def test_the_index_is_a_thirty_second_of_keys_and_values_and_what_axes_take() -> None:
    keys = made((4, 2, 3000, 1, 64))[2]
    index = indexed(keys.bfloat16())
    assert index.codes.dtype == torch.int8
    assert index.codes.nbytes * 32 == 2 * keys.bfloat16().nbytes
    assert index.nbytes == index.codes.nbytes + 4 * 2 * 64 * 9
    assert int(index.codes.abs().max()) == 127


def test_on_all_axes_scores_are_exact_but_for_8_bits() -> None:
    # Keys that lie in a plane: of 16 dimensions two axes hold everything.
    generator = torch.Generator().manual_seed(1)
    plane = torch.randn(2, 16, generator=generator)
    keys = torch.randn(1, 50, 2, generator=generator) @ plane + 4
    query = torch.randn(1, 1, 1, 16, generator=generator)
    exact = keys[0] @ query[0, 0, 0]
    error = indexed(keys).scores(query)[0, 0, 0] - exact
    assert error.abs().max() < 0.02 * exact.std()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_head", [False, True])
def test_what_is_selected_is_what_a_loop_selects(shape, per_head) -> None:
    query, text, keys = made(shape, seed=3)
    scaling, count = shape[4] ** -0.5, shape[2] // 3
    selector = KeySelector(per_head)
    found = selector.select(selector.index([keys]), query, text, scaling, count)
    every = torch.cat([keys, text[0]], 1).numpy()
    weights = attention(query[0, :, 0].numpy(), every, list(range(shape[2])), scaling, {})
    expected = selected(weights, shape[1], count, per_head)
    assert found.shape == (1, shape[1] if per_head else 1, count)
    for ours, theirs in zip(found[0].tolist(), expected, strict=False):
        assert sorted(ours) == theirs


def test_attention_sums_to_what_text_leaves() -> None:
    query, text, keys = made(SHAPES[2])
    selector = KeySelector(per_head=True)
    weights = selector.attention(indexed(keys), query, text, 0.25)
    assert weights.shape == (1, 2, 2)
    assert ((weights.sum(-1) > 0) & (weights.sum(-1) < 1)).all()
    far = selector.attention(indexed(keys), query, text + 100 * query, 0.25)
    assert (far.sum(-1) < weights.sum(-1)).all()


@pytest.mark.parametrize("count", [0, 1, 3, 6, 8])
def test_equal_tokens_are_taken_from_the_front(count) -> None:
    attention = torch.tensor([[[0.1, 0.3, 0.1, 0.0, 0.3, 0.1, 0.0, 0.1]]])
    ranked = [1, 4, 0, 2, 5, 7, 3, 6]
    assert top_of_each(attention, count).flatten().tolist() == ranked[:count]


def test_many_tokens_are_ranked_as_a_stable_sort_ranks_them() -> None:
    torch.manual_seed(0)
    coarse = torch.rand(4, 2, 50).round(decimals=1)
    # Numbers that are neighbours in float32, far behind each other, and zeros.
    near = torch.tensor([0.7, 0.0, 1e-30]).repeat(7000)
    near[20_000] = torch.nextafter(near[20_000], torch.tensor(1.0))
    for numbers in (coarse, near):
        expected = numbers.argsort(descending=True, stable=True)
        assert top_of_each(numbers, numbers.shape[-1]).equal(expected)


@pytest.mark.parametrize("per_head", [False, True])
def test_a_batch_is_its_sequences(per_head) -> None:
    parts = [made((4, 2, v, t, 16), seed=v) for v, t in ((20, 6), (9, 8), (14, 3), (0, 5))]
    selector = KeySelector(per_head)
    counts = [5, 2, 14, 0]
    visual, text = 20, 8
    others = torch.cat([
        torch.nn.functional.pad(t, (0, 0, text - t.shape[2], 0), value=9.0) for _, t, _ in parts
    ])  # fmt: skip
    together = selector.select(
        selector.index([keys for _, _, keys in parts]),
        torch.cat([query for query, _, _ in parts]),
        others,
        0.25,
        14,
        torch.stack([torch.arange(visual) < keys.shape[1] for _, _, keys in parts]),
        torch.stack([torch.arange(text) >= text - t.shape[2] for _, t, _ in parts]),
    )
    for row, count, (query, own, keys) in zip(together, counts, parts, strict=True):
        alone = selector.select(selector.index([keys]), query, own, 0.25, count)
        assert row[:, :count].equal(alone[0])


class Waits(TorchDispatchMode):
    """Refuses what a host waits for the device with."""

    NAMES = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in self.NAMES), func
        return func(*args, **kwargs or {})


def test_a_selection_waits_for_no_device() -> None:
    query, text, keys = made(SHAPES[4])
    selector = KeySelector()
    index = selector.index([keys])
    with Waits():
        selector.select(index, query, text, 0.125, 30)
    with pytest.raises(AssertionError), Waits():
        bool(query[0, 0, 0, 0] > 3)


def test_keys_that_are_not_finite_do_not_end_in_an_error() -> None:
    keys = made(SHAPES[0])[2]
    keys[:, 3] = float("nan")
    keys[:, 5] = float("inf")
    index = indexed(keys)
    query, text, _ = made(SHAPES[0])
    found = KeySelector().select(index, query, text, 0.25, 5)
    assert found.min() >= 0
    assert found.max() < 20
