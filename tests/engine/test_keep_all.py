"""With K=0 and P=0 an attached method changes nothing: tokens are those of plain generate()."""

import pytest
import torch

from dycoke_cli import DyCoke
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of
from tests.engine.tiny import SHAPES, make_inputs, make_model, padded_left

KEEP_ALL = {"merge_ratio": 0.0, "prune_ratio": 0.0, "prune_layer": 2}


def tokens_of(model, inputs, new_tokens=5, **options):
    """What is generated, drawn from the same seed each time."""
    torch.manual_seed(3)
    options = {"do_sample": False, **options}
    return model.generate(**inputs, max_new_tokens=new_tokens, **options)[0, -new_tokens:].tolist()


def check_same_tokens(model, inputs, **options):
    plain = tokens_of(model, inputs, **options)
    with DyCoke(**KEEP_ALL)(model):
        assert tokens_of(model, inputs, **options) == plain


@pytest.mark.parametrize("positions", ["kept", "renumbered"])
def test_positions_kept_and_left_padding_change_nothing_either(positions):
    model, inputs = make_model(SHAPES[0]), make_inputs(SHAPES[0], 6)
    plain = tokens_of(model, inputs)
    with DyCoke(**KEEP_ALL, positions=positions)(model):
        assert tokens_of(model, padded_left(inputs)) == plain


@pytest.mark.parametrize("positions", ["kept", "renumbered"])
def test_forward_by_hand_without_position_ids(positions):
    # Whoever calls the model step by step gives no positions; padding must not count as any.
    model, inputs = make_model(SHAPES[0]), make_inputs(SHAPES[0], 6)
    plain, tokens = tokens_of(model, inputs, 6), []
    with torch.no_grad(), DyCoke(**KEEP_ALL, positions=positions)(model):
        output = model(**padded_left(inputs))
        for _ in range(6):
            token = output.logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(int(token))
            output = model(input_ids=token, **{CACHE_ARGUMENT: cache_of(output)})
    assert tokens == plain


def test_sampling_with_a_seed_is_that_of_plain_generate():
    model, inputs = make_model(SHAPES[1]), make_inputs(SHAPES[1], 4)
    check_same_tokens(model, inputs, do_sample=True, temperature=1.3)


def test_a_model_loaded_with_eager_attention():
    model = make_model(SHAPES[0])
    model.set_attn_implementation("eager")
    check_same_tokens(model, make_inputs(SHAPES[0], 5))
    assert model.get_decoder().config._attn_implementation == "eager"
