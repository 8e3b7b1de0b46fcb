"""What a step reads and what the store holds, counted by hand on a tiny model."""

from __future__ import annotations

import pytest

from dycoke_cli import DyCoke
from dycoke_cli.engine.generate import read_per_token, weights_read
from dycoke_cli.engine.kv_cache import SPARE_ENTRIES
from dycoke_cli.kernels import replacing
from dycoke_cli.kernels.linear import onednn_works
from dycoke_cli.stock.private_api import cache_of
from tests.engine.tiny import SHAPES, VOCABULARY, make_inputs, make_model
from tests.families.tiny import MAKERS

# Of the first shape: rows of 32 numbers, 4 query and 2 KV heads of 8 each, an MLP of 48.
QKV = (32 * 32 + 32) + 2 * (32 * 16 + 16)
LAYER = QKV + 32 * 32 + 3 * 32 * 48 + 2 * 32
ROTARY = 2 * 4  # a frequency for each pair of a head's numbers, kept twice
NUMBERS = 5 * LAYER + 32 + VOCABULARY * 32 + ROTARY


@pytest.mark.parametrize("tied", [False, True])
def test_decoder_and_output_layer_by_hand(tied: bool) -> None:
    model = make_model(SHAPES[0])
    table = model.get_input_embeddings()
    model.lm_head.weight = table.weight if tied else type(table.weight)(table.weight.clone())
    assert weights_read(model) == 8 * NUMBERS
    assert weights_read(model.bfloat16()) == 2 * NUMBERS
    assert read_per_token(model, 1000) == 2 * NUMBERS + 1000


def test_of_experts_nobody_knows_how_many() -> None:
    model, _ = MAKERS["qwen3_vl_moe"]()
    assert weights_read(model) is None
    assert read_per_token(model, 1000) is None


def test_layers_in_8_bits_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "MIN_INT8_OUTPUTS", 1)
    model = make_model(SHAPES[0])
    table = model.get_input_embeddings()
    model.lm_head.weight = type(table.weight)(table.weight.clone())
    replacing.use_int8(model)
    linears = 5 * [(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)]
    linears += [(VOCABULARY, 32)]
    rounded = sum(outputs * inputs for outputs, inputs in linears)
    # Of an output, beside its weights: a scale and a sum, and up to 64 bytes of whole blocks with a
    # tail of 8; or a scale, a zero and a sum.
    held = {32: 64 + 8, 48: 64 + 8} if onednn_works() else {32: 32 + 12, 48: 48 + 12}
    packed = sum(outputs * held[inputs] for outputs, inputs in linears)
    assert weights_read(model) == packed + 8 * (NUMBERS - rounded)


def test_bytes_reported_are_bytes_held() -> None:
    shape = SHAPES[0]
    model = make_model(shape)
    with DyCoke(prune_layer=2)(model) as attachment:
        output = model.generate(
            **make_inputs(shape, 8),
            max_new_tokens=5,
            do_sample=False,
            return_dict_in_generate=True,
        )
    store = cache_of(output)
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for layer in store.layers
        for tensor in (layer.keys, layer.values)
    }
    assert store.nbytes == sum(storages.values())
    # By hand: rows of 2 heads of 8 float64, keys and values; 9 prompt tokens are text, and of the
    # five tokens written the last was never read.
    row = 2 * 2 * 8 * 8
    kept = attachment.stats[0].visual_kept
    rest = 9 + 4
    assert kept == 4 * 2 + 6 * int(0.3 * 4)
    assert store.active_nbytes == row * (2 * (kept + rest) + 3 * (int(kept * 0.3) + rest))
    assert store.nbytes == row * 5 * (kept + 9 + SPARE_ENTRIES)
    views = store.layers[4].attended()
    assert all(view.untyped_storage().data_ptr() in storages for view in views)  # no copy
