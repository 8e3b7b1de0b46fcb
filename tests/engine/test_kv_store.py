"""The store's bytes are those that it holds; what it attends to is in `test_any_layout.py`."""

from dycoke_cli import DyCoke
from dycoke_cli.engine.kv_cache import SPARE_ENTRIES
from dycoke_cli.stock.private_api import cache_of
from tests.engine.tiny import SHAPES, make_inputs, make_model


def test_bytes_reported_are_bytes_held():
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
