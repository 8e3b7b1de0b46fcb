"""A stock model with our attention writes the tokens that it writes without."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
import torch

from dycoke_cli import DyCoke, FastV
from dycoke_cli.kernels import attention as attention_interface
from dycoke_cli.kernels.attention import NAME
from dycoke_cli.kernels.replacing import use_custom_attention
from dycoke_cli.stock.private_api import attention_implementation
from tests.exactness import assert_same_steps, generated
from tests.families.stock import (
    BOTH_WAYS,
    MASKS,
    MERGING_ONLY,
    NONE_ONLY,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.tiny import MAKERS, make

NEW_TOKENS = 3


@contextmanager
def with_kernels(model):
    """The model is shared between tests: it goes back to SDPA."""
    assert use_custom_attention(model)
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")


@pytest.fixture
def used(monkeypatch) -> Counter[str]:
    """How often each shape of attention was computed."""
    counts: Counter[str] = Counter()

    def counting(name, function):
        def count(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return count

    for name in ("causal_attention", "decode_attention", "bidirectional_attention"):
        monkeypatch.setattr(
            attention_interface, name, counting(name, getattr(attention_interface, name))
        )
    return counts


def written(model, inputs, method=None):
    with nullcontext() if method is None else method(model):
        return generated(model, inputs, NEW_TOKENS)


def methods_of(family: str) -> list:
    if family in NONE_ONLY:
        return [None]
    merging = DyCoke(kv_prune=False, positions="kept")
    if family in MERGING_ONLY:
        return [None, merging]
    pruning = DyCoke(prune_layer=2, positions="kept", recall_threshold=0.99)
    inside = [] if family in BOTH_WAYS else [FastV(prune_layer=1)]
    return [None, merging, pruning, *inside]


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS, MASKS))
def test_every_family_writes_the_tokens_of_stock_attention(family: str, used) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    for method in methods_of(family):
        stock = written(model, inputs, method)
        with with_kernels(model):
            ours = written(model, inputs, method)
        assert torch.equal(ours.sequences, stock.sequences)
        assert_same_steps(ours.logits, stock.logits)
    assert used["decode_attention"]
    assert attention_implementation(model) == "sdpa"


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_prompts_take_the_causal_shape_and_answers_the_single_one(family: str, used) -> None:
    model, processor = make(family)
    layers = model.get_decoder().config.num_hidden_layers
    with with_kernels(model):
        written(model, stock_inputs(family, processor, clip(4)))
    assert used["causal_attention"] == layers
    assert used["decode_attention"] == layers * (NEW_TOKENS - 1)


def test_padding_and_static_caches_are_left_to_the_stock_function(used) -> None:
    """What no mask means differs there: prompts in a static cache are its first rows."""
    model, processor = make("llava_onevision")
    inputs = stock_inputs("llava_onevision", processor, clip(4))
    padded = {**inputs, "attention_mask": inputs["attention_mask"].clone()}
    padded["attention_mask"][:, 0] = 0
    for given, more in ((padded, {}), (inputs, {"cache_implementation": "static"})):
        how = {"max_new_tokens": NEW_TOKENS, "do_sample": False, **more}
        stock = model.generate(**given, **how)
        with with_kernels(model):
            ours = model.generate(**given, **how)
        assert torch.equal(ours, stock)
        assert not used["causal_attention"]


def test_a_prompt_read_in_two_calls_needs_no_mask(used) -> None:
    model, processor = make("llava_onevision")
    inputs = stock_inputs("llava_onevision", processor, clip(4))
    how = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "prefill_chunk_size": 19}
    stock = model.generate(**inputs, **how)
    with with_kernels(model):
        ours = model.generate(**inputs, **how)
    assert torch.equal(ours, stock)


def test_who_asks_for_other_attention_keeps_it() -> None:
    model, _ = make("llava_onevision")
    model.set_attn_implementation("eager")
    try:
        assert not use_custom_attention(model)
        assert attention_implementation(model) == "eager"
    finally:
        model.set_attn_implementation("sdpa")
    with with_kernels(model):
        assert attention_implementation(model.get_decoder()) == NAME
        assert not use_custom_attention(model)


def test_what_our_shapes_lack_is_left_to_the_stock_function(used) -> None:
    key, attend = torch.randn(1, 2, 5, 8), partial(attention_interface.attention, torch.nn.Module())
    one = key[:, :, :1]
    with torch.no_grad():
        for lacking in ({"cache": object()}, {"dropout": 0.5}):
            attend(one, key, key, None, **lacking)
        with pytest.raises(ValueError, match="softcap"):  # which that one hasn't got, either
            attend(one, key, key, None, softcap=30.0)
        assert not used
        for query in (one, key):  # a module that doesn't say so is causal
            attend(query, key, key, None)
    assert used == {"decode_attention": 1, "causal_attention": 1}
