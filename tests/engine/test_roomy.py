"""The stock cache with room for tokens: the same entries, and steps that copy nothing."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from dycoke_cli.engine.kv_cache import SPARE_ENTRIES, RoomyLayer, make_room


def states(count: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, 3, count, 4), torch.randn(batch, 3, count, 5)


def prompt() -> DynamicLayer:
    layer = DynamicLayer()
    layer.update(*states(7))
    return layer


def same(one: DynamicLayer, other: DynamicLayer) -> bool:
    return torch.equal(one.keys, other.keys) and torch.equal(one.values, other.values)


@pytest.mark.parametrize("seed", range(20))
def test_the_entries_are_those_of_the_stock_layer(seed: int) -> None:
    """Whatever is done to it in between, with copies that go on by themselves."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    stock = prompt()
    pairs = [(stock, RoomyLayer.of(stock))]
    for _ in range(60):
        layers = rng.choice(pairs)
        what = rng.choice(["step", "step", "step", "crop", "reorder", "copy", "deepcopy"])
        if what == "step":
            new = states(rng.choice([1, 1, 3, SPARE_ENTRIES + 1]))
            results = [layer.update(*new) for layer in layers]
            assert all(map(torch.equal, *results))
        elif what == "crop":
            for layer in layers:
                layer.crop(-2)
        elif what == "reorder":
            for layer in layers:
                layer.reorder_cache(torch.tensor([1, 0]))
        else:
            one, other = map(getattr(copy, what), layers)
            pairs.append((one, other))
        assert all(same(one, other) for one, other in pairs)
        assert all(one.get_seq_length() == other.get_seq_length() for one, other in pairs)


def test_a_step_copies_no_entries() -> None:
    cache = DynamicCache()
    cache.update(*states(7), 0)
    make_room(cache)
    first, _ = cache.update(*states(1), 0)
    for _ in range(SPARE_ENTRIES):
        keys, _ = cache.update(*states(1), 0)
        assert keys.data_ptr() == first.data_ptr()
    keys, _ = cache.update(*states(1), 0)
    assert keys.data_ptr() != first.data_ptr(), "it has grown"
    assert cache.get_seq_length() == 7 + 1 + SPARE_ENTRIES + 1


def test_an_empty_layer_is_filled_as_the_stock_one() -> None:
    layer = RoomyLayer()
    layer.update(*states(2))
    layer.update(*states(1))
    assert layer.keys.shape == (2, 3, 3, 4)
    layer.reset()
    layer.update(*states(4))
    assert layer.values.shape == (2, 3, 4, 5)
