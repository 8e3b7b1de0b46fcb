"""Layers that select for themselves: batches, bytes, the host, and what is refused."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dycoke_cli import DyCoke, DyCokePlus
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.methods import dycoke_plus
from dycoke_cli.engine.kv_cache import indexed, layer
from dycoke_cli.engine.kv_cache.indexed import IndexedLayer
from dycoke_cli.engine.kv_cache.layer import SPARE_ENTRIES
from dycoke_cli.engine.trace import traced_layer
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of
from tests.covering import EXTENDED, covered
from tests.cuda import needs_cuda
from tests.engine.test_batches import NEW_TOKENS, answer, batch_of, prompts, same_rows
from tests.engine.tiny import SHAPES, make_inputs, make_model
from tests.exactness import assert_same

Stage2 = partial(DyCokePlus, retain=1.0, prune_from=0)
METHODS = [
    Stage2(prune_ratio=0.6),
    Stage2(prune_ratio=0.9, prune_layer=3),
    Stage2(prune_ratio=0.6, per_head=True),
    Stage2(prune_ratio=0.6, dp_cache="host"),
    Stage2(prune_ratio=0.6, dp_cache="host", per_head=True, prune_layer=1),
    Stage2(prune_ratio=0.99),
    Stage2(prune_ratio=0.0, positions="kept"),
]
TEXT = 3 + 1 + 5  # tokens of a prompt without more text: before, the newline, behind
ROW = 2 * 2 * 8 * 8  # bytes: keys and values of 2 heads of 8 float64 in one layer


PROMPTS = (5, (3, 0, 9)), (8, (2, 2)), (1, (0, 1, 2))


@pytest.mark.parametrize(
    ("method", "frames", "texts"),
    covered(((method, *prompt) for method in METHODS for prompt in PROMPTS), together=1),
)
def test_each_sequence_of_a_batch_is_as_it_is_alone(method, frames, texts) -> None:
    model = make_model(SHAPES[0], seed=frames)
    rows = prompts(SHAPES[0], frames, texts)
    same_rows(model, method, rows, batch_of(rows))


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=() if i in (0, 2, 4) else EXTENDED) for i, m in enumerate(METHODS)],
    ids=range(len(METHODS)),
)
def test_a_sequence_without_a_video(method) -> None:
    model = make_model(SHAPES[0])
    rows = prompts(SHAPES[0], 5, (1, 3))
    text = {
        "input_ids": torch.arange(11, 31)[None],
        "attention_mask": torch.ones(1, 20).long(),
    }
    blank = text | {"pixel_values_videos": rows[0]["pixel_values_videos"][:0]}
    stats = same_rows(model, method, rows, batch_of([*rows, blank]))
    assert (stats[2].visual, stats[2].active) == (0, [])
    together, _ = answer(model, method, batch_of([*rows, blank]))
    plain = model.generate(**text, max_new_tokens=NEW_TOKENS, do_sample=False)
    assert together.sequences[2, -NEW_TOKENS:].tolist() == plain[0, -NEW_TOKENS:].tolist()


@pytest.mark.parametrize("per_head", [False, True])
def test_on_the_host_tokens_and_logits_are_those_of_the_device(per_head) -> None:
    model = make_model(SHAPES[1], seed=2)
    inputs = make_inputs(SHAPES[1], 7)
    method = Stage2(prune_ratio=0.7, per_head=per_head)
    ours, counts = answer(model, replace(method, dp_cache="host"), inputs)
    theirs, theirs_counts = answer(model, method, inputs)
    assert torch.equal(ours.sequences, theirs.sequences)
    for one, other in zip(ours.logits, theirs.logits, strict=True):
        assert torch.equal(one, other)
    assert counts == theirs_counts


def test_a_layer_scores_for_all_behind_it_as_in_dycoke() -> None:
    model, inputs = make_model(SHAPES[0]), make_inputs(SHAPES[0], 8)
    for where in ("device", "host", "discard"):
        plus = Stage2(scorer="layer", prune_layer=2, prune_ratio=0.7, dp_cache=where)
        ours, counts = answer(model, plus, inputs)
        theirs, expected = answer(model, DyCoke(ttm=False, prune_layer=2, dp_cache=where), inputs)
        assert torch.equal(ours.sequences, theirs.sequences)
        assert counts == expected


@pytest.mark.parametrize("dp_cache", ["device", "host"])
@pytest.mark.parametrize("per_head", [False, True])
def test_bytes_by_hand(dp_cache, per_head) -> None:
    model = make_model(SHAPES[0])  # 5 layers, 4 tokens a frame, 2 KV heads of 8
    method = Stage2(prune_ratio=0.7, prune_layer=2, dp_cache=dp_cache, per_head=per_head)
    output, [stats] = answer(model, method, make_inputs(SHAPES[0], 8))
    store, visual, active = cache_of(output), 32, int(32 * 0.3)
    steps = NEW_TOKENS - 1
    assert stats.active == [active] * steps
    # A code per token and head; in float64, for the model is: an axis and the mean of each head.
    index = 2 * (visual + 8 * (8 + 8))
    whole, read = visual + TEXT + steps, active + TEXT + steps
    assert store.active_nbytes == ROW * (2 * whole + 3 * read) + 3 * index
    held = visual if dp_cache == "device" else 0
    layers = 2 * (visual + TEXT + SPARE_ENTRIES) + 3 * (held + TEXT + SPARE_ENTRIES)
    # The shared buffer was made at the first step, for what that one read, and some to come.
    shared = active + TEXT + 1 + SPARE_ENTRIES
    assert store.host_nbytes == (0 if held else 3 * ROW * visual)
    assert store.nbytes == ROW * (layers + shared) + 3 * index + store.host_nbytes


@pytest.mark.slow
def test_an_answer_of_many_tokens_outgrows_what_was_spare(monkeypatch) -> None:
    for module in (layer, indexed):
        monkeypatch.setattr(module, "SPARE_ENTRIES", 8)
    model, inputs = make_model(SHAPES[0], seed=1), make_inputs(SHAPES[0], 3)
    steps = 8 + 12
    plain = model.generate(**inputs, max_new_tokens=steps, do_sample=False)
    for method in (METHODS[-1], replace(METHODS[-1], dp_cache="host")):
        with method(model):
            assert torch.equal(
                model.generate(**inputs, max_new_tokens=steps, do_sample=False), plain
            )


def test_a_step_waits_for_no_device(monkeypatch) -> None:
    """On CUDA each of these operations would have the host wait."""
    waits = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique")
    stock, steps = IndexedLayer.read, []

    class Waits(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert not any(name in str(func) for name in waits), func
            return func(*args, **kwargs or {})

    def read(layer, *args):
        steps.append(layer)
        with Waits():
            return stock(layer, *args)

    monkeypatch.setattr(IndexedLayer, "read", read)
    model = make_model(SHAPES[0])
    for texts in ((2,), (3, 0, 9)):
        answer(model, METHODS[0], batch_of(prompts(SHAPES[0], 5, texts)))
    assert len(steps) == 2 * 5 * (NEW_TOKENS - 1)


def test_several_samples_of_one_prompt_select_for_themselves() -> None:
    model, inputs = make_model(SHAPES[0]), make_inputs(SHAPES[0], 9)
    with Stage2(prune_ratio=0.6)(model) as attachment:
        torch.manual_seed(0)
        output = model.generate(
            **inputs, max_new_tokens=20, do_sample=True, temperature=3.0, num_return_sequences=3
        )
    assert len({tuple(row.tolist()) for row in output}) == 3
    assert [stats.active for stats in attachment.stats] == [[14] * 19] * 3


def test_a_sequence_with_too_few_tokens_attends_to_all() -> None:
    model, rows = make_model(SHAPES[0], seed=3), prompts(SHAPES[0], 8, (1, 3))
    for least, expected in ((32, METHODS[0]), (33, Stage2(kv_prune=False))):
        ours, stats = answer(model, replace(METHODS[0], prune_from=least), batch_of(rows))
        theirs, counts = answer(model, expected, batch_of(rows))
        assert stats == counts
        for one, other in zip(ours.logits, theirs.logits, strict=True):
            assert_same(one, other)


def test_where_that_is_auto_decode_is_pruned_from_the_break_even_on(monkeypatch) -> None:
    model, inputs = make_model(SHAPES[0], seed=3), make_inputs(SHAPES[0], 8)
    _, [stats] = answer(model, DyCokePlus(retain=1.0, kv_prune=True), inputs)
    assert (stats.visual_kept, stats.mean_active) == (32, 32)
    for least, active in ((32, int(32 * 0.15)), (33, 32)):
        monkeypatch.setattr(dycoke_plus, "PAYS_FROM", least)
        _, [stats] = answer(model, DyCokePlus(retain=1.0, kv_prune=True), inputs)
        assert stats.mean_active == active


def test_the_store_of_a_finished_call_is_freed() -> None:
    model = make_model(SHAPES[0])
    with METHODS[0](model):
        gc.disable()
        try:
            output = model.generate(
                **make_inputs(SHAPES[0], 4), max_new_tokens=3, return_dict_in_generate=True
            )
            store = weakref.ref(cache_of(output))
            del output
            assert store() is None
        finally:
            gc.enable()


def test_a_step_by_hand_is_one_of_generate_with_gradients_on_too() -> None:
    model, inputs = make_model(SHAPES[0], seed=3), make_inputs(SHAPES[0], 8)
    expected, _ = answer(model, METHODS[0], inputs)
    with METHODS[0](model):
        prompt = model(**inputs)
        token = prompt.logits[:, -1].argmax(-1, keepdim=True)
        step = model(input_ids=token, **{CACHE_ARGUMENT: cache_of(prompt)})
    for ours, theirs in zip((prompt, step), expected.logits, strict=False):
        assert_same(ours.logits[0, -1], theirs[0])


def test_keys_in_main_memory_have_no_trace() -> None:
    config = SimpleNamespace(num_hidden_layers=4)
    with pytest.raises(UsageError, match="can be shown with dp_cache device, not host"):
        traced_layer(config, 3, BoundMethod(Stage2(dp_cache="host")))
    assert traced_layer(config, 3, BoundMethod(Stage2())) == 2
    assert traced_layer(config, 3, BoundMethod(Stage2(scorer="layer", prune_layer=2))) == 1


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"scorer": "layer", "prune_layer": 0}, "must be 1 or more with the scorer layer"),
        ({"scorer": "layer", "per_head": True}, "per_head is for the scorer own"),
        ({"dp_cache": "discard"}, "dp_cache discard is for the scorer layer"),
        ({"prune_from": 9, "dp_cache": "host"}, "prune_from is for speed, and dp_cache host"),
        ({"prune_layer": -1}, "prune_layer must be 0 or more, not -1"),
        ({"scorer": "mean"}, "scorer must be own or layer, not 'mean'"),
    ],
)
def test_what_does_not_go_together_is_refused(parameters, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        Stage2(**parameters)


def test_a_layer_that_the_model_does_not_have() -> None:
    model = make_model(SHAPES[0])
    with pytest.raises(UsageError, match="prune_layer must be from 0 to 4 for this model"):
        Stage2(prune_layer=5)(model)


@needs_cuda
@pytest.mark.parametrize("method", METHODS, ids=range(len(METHODS)))
def test_on_an_accelerator_answers_are_the_same(method) -> None:
    model = make_model(SHAPES[0])
    inputs = batch_of(prompts(SHAPES[0], 8, (3, 0, 9)))
    here, _ = answer(model, method, inputs)
    there, _ = answer(model.cuda(), method, {k: v.cuda() for k, v in inputs.items()})
    assert torch.equal(here.sequences, there.sequences.cpu())
