"""With K=0 and P=0 an attached method changes nothing: tokens are those of plain generate()."""

import pytest
import torch

from dycoke_cli import DyCoke
from dycoke_cli.engine import kv_cache
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of
from tests.engine.tiny import SHAPES, make_inputs, make_model

KEEP_ALL = {"merge_ratio": 0.0, "prune_ratio": 0.0, "prune_layer": 2}


def padded_left(inputs):
    return inputs | {
        "input_ids": torch.nn.functional.pad(inputs["input_ids"], (4, 0), value=1),
        "attention_mask": torch.nn.functional.pad(inputs["attention_mask"], (4, 0), value=0),
    }


def test_positions_kept_and_left_padding_change_nothing_either():
    shape = SHAPES[0]
    model = make_model(shape)
    inputs = make_inputs(shape, 6)
    plain = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, -12:]
    for positions in ("kept", "renumbered"):
        with DyCoke(**KEEP_ALL, positions=positions)(model):
            attached = model.generate(**padded_left(inputs), max_new_tokens=12, do_sample=False)[
                0, -12:
            ]
        assert torch.equal(plain, attached), positions


@pytest.mark.parametrize("positions", ["kept", "renumbered"])
def test_forward_by_hand_without_position_ids(positions):
    # Whoever calls the model step by step gives no positions; padding must not count as any.
    shape = SHAPES[0]
    model = make_model(shape)
    inputs = make_inputs(shape, 6)
    plain = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, -6:].tolist()
    tokens = []
    with torch.no_grad(), DyCoke(**KEEP_ALL, positions=positions)(model):
        output = model(**padded_left(inputs))
        for _ in range(6):
            token = output.logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(int(token))
            output = model(input_ids=token, **{CACHE_ARGUMENT: cache_of(output)})
    assert tokens == plain


def test_more_new_tokens_than_spare_rows(monkeypatch):
    monkeypatch.setattr(kv_cache, "SPARE_ENTRIES", 8)
    shape = SHAPES[0]
    model = make_model(shape)
    inputs = make_inputs(shape, 2)
    steps = 8 + 12
    plain = model.generate(**inputs, max_new_tokens=steps, do_sample=False)
    with DyCoke(**KEEP_ALL)(model):
        attached = model.generate(**inputs, max_new_tokens=steps, do_sample=False)
    assert torch.equal(plain, attached)


def test_sampling_with_a_seed_is_that_of_plain_generate():
    shape = SHAPES[1]
    model = make_model(shape)
    inputs = make_inputs(shape, 4)
    torch.manual_seed(3)
    plain = model.generate(**inputs, max_new_tokens=20, do_sample=True, temperature=1.3)
    torch.manual_seed(3)
    with DyCoke(**KEEP_ALL)(model):
        attached = model.generate(**inputs, max_new_tokens=20, do_sample=True, temperature=1.3)
    assert torch.equal(plain, attached)


def test_a_model_loaded_with_eager_attention():
    shape = SHAPES[0]
    model = make_model(shape)
    inputs = make_inputs(shape, 5)
    model.set_attn_implementation("eager")
    plain = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    with DyCoke(**KEEP_ALL)(model):
        attached = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    assert torch.equal(plain, attached)
    assert model.get_decoder().config._attn_implementation == "eager"
