"""The reference is itself checked: against the stock model, and against cases worked by hand."""

import math

import pytest
import torch

from tests.engine.reference import Reference, cosine, merge, top
from tests.engine.tiny import SHAPES, make_inputs, make_model, prompt_rows
from tests.exactness import assert_same


@pytest.mark.parametrize("shape", SHAPES)
def test_without_masks_it_is_the_stock_model(shape):
    model = make_model(shape)
    inputs = make_inputs(shape, frames=5)
    embeds, _ = prompt_rows(model, shape, inputs)
    logits, _ = Reference(model).logits(embeds, torch.arange(len(embeds)), {})
    with torch.no_grad():
        stock = model(**inputs).logits[0]
    assert_same(logits, stock)


def test_a_masked_key_by_hand():
    # One layer, one head, weights chosen so that q = k = 0 (all keys weigh the same) and v, o and
    # the residual stream pass numbers through: the answer is a mean over the keys that are left.
    shape = SHAPES[2]
    model = make_model(shape)
    decoder = model.get_decoder()
    decoder.layers = decoder.layers[:1]
    decoder.config.num_hidden_layers = 1
    layer = decoder.layers[0]
    with torch.no_grad():
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(layer.self_attn, name).bias.zero_()
            getattr(layer.self_attn, name).weight.zero_()
        layer.self_attn.v_proj.weight.copy_(torch.eye(32))
        layer.self_attn.o_proj.weight.copy_(torch.eye(32))
        layer.mlp.down_proj.weight.zero_()
        model.get_output_embeddings().weight.zero_()
        model.get_output_embeddings().weight[0, 0] = 1.0
    # After RMS norm each row is sqrt(32) in one dimension: key 0 in dimension 0, the others in 1.
    embeds = torch.zeros(4, 32)
    embeds[0, 0] = 3.0
    embeds[1:, 1] = 3.0
    mask = torch.zeros(4, 4).double()
    mask[3, 1] = -math.inf
    reference = Reference(model)
    for masks, keys in (({}, 4), ({0: mask}, 3)):
        logits, attentions = reference.logits(embeds, torch.arange(4), masks)
        x0, x1 = math.sqrt(32) / keys, 3 + math.sqrt(32) * (keys - 1) / keys
        expected = x0 / math.sqrt((x0**2 + x1**2) / 32)
        assert float(attentions[0][0, 3, 0]) == pytest.approx(1 / keys)
        assert float(logits[3, 0]) == pytest.approx(expected, rel=1e-5)


def test_merge_by_hand():
    # Two dimensions; a token's angle says how like its neighbour it is.
    def frame(*degrees):
        return torch.tensor(
            [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees]
        )

    features = torch.stack(
        [
            frame(0, 0, 0, 0),
            frame(10, 40, 20, 30),  # against frame 0: positions 1 and 3 are least like
            frame(5, 6, 7, 8),  # against frame 0: positions 2 and 3
            frame(50, 6, 7, 60),  # against frame 2: positions 0 and 3
        ]
    )
    assert merge(features, 0.5) == [0, 1, 2, 3, 4 + 1, 4 + 3, 8 + 2, 8 + 3, 12 + 0, 12 + 3]


def test_ties_and_cosine_by_hand():
    assert top([0.2, 0.3, 0.2, 0.3], 3) == [0, 1, 3]
    assert cosine([1.0, 0.0], [1.0, 1.0]) == pytest.approx(math.sqrt(0.5))
