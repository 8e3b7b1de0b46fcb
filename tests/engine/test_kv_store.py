"""The store: tokens leave and come back, bytes are what is held, swaps move what they say."""

import torch

from dycoke_cli import DyCoke
from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.method import Pruning
from dycoke_cli.engine.kv_cache import SPARE_ENTRIES, KVStore
from dycoke_cli.engine.state import DecodeStats, ShortenedSequence
from dycoke_cli.stock.private_api import cache_of
from tests.engine.tiny import SHAPES, make_inputs, make_model

VISUAL, PROMPT = torch.arange(2, 8), 10  # six visual tokens in a prompt of ten


def make_store(pruning):
    """A store, and its only sequence."""
    stats = DecodeStats(visual=6, visual_kept=6)
    sequence = ShortenedSequence(0, VISUAL, stats, pruning and pruning.selector)
    store = KVStore(
        layers=3,
        paddings=[sequence.padding],
        visual=[sequence.visual],
        length=PROMPT,
        uncompressed_length=PROMPT,
        first_pruned=pruning and pruning.layer,
    )
    return store, sequence


def rows(numbers):
    """Keys [1, 1, S, 1] that carry the number of their row."""
    return torch.tensor(numbers, dtype=torch.float32).view(1, 1, -1, 1)


def prefill(store):
    for layer in range(3):
        store.update(rows(range(PROMPT)), -rows(range(PROMPT)), layer)


def step(store, sequence, attention, number, first_pruned=2):
    """One decoding step; the rows that layer 2, which is pruned, reads: (keys, values)."""
    store.begin_step()
    for layer in range(3):
        keys, values = store.update(rows([number]), -rows([number]), layer)
        if layer + 1 == first_pruned:
            store.arrange([sequence.select(torch.tensor(attention))])
    return keys.flatten().tolist(), values.flatten().tolist()


def test_a_token_leaves_and_returns():
    store, sequence = make_store(Pruning(2, VisualSelector(0.5, 0.9)))
    prefill(store)
    text = {0, 1, 8, 9}
    keys, values = step(store, sequence, [9.0, 8, 7, 0, 0, 0], 10)
    assert set(keys) == text | {2, 3, 4, 10}
    assert values == [-key for key in keys]
    keys, _ = step(store, sequence, [0, 0, 0, 7.0, 8, 9], 11)
    assert set(keys) == text | {5, 6, 7, 10, 11}  # 2, 3 and 4 left
    keys, values = step(store, sequence, [9.0, 0, 0, 8.0, 7.0, 0], 12)
    assert set(keys) == text | {2, 5, 6, 10, 11, 12}  # and 2 is back
    assert values == [-key for key in keys]
    assert sequence.stats.choices_renewed == 2
    assert sequence.stats.tokens_evicted == 3 + 3 + 1
    assert sequence.stats.tokens_recalled == 3 + 1
    assert sequence.stats.active == [3, 3, 3]


def test_a_selection_that_is_not_renewed_swaps_nothing():
    store, sequence = make_store(Pruning(2, VisualSelector(0.5, 0.9)))
    prefill(store)
    first, _ = step(store, sequence, [9.0, 8, 7, 0, 0, 0], 10)
    second, _ = step(store, sequence, [9.0, 8, 6, 0, 0, 0], 11)
    assert second == [*first, 11]
    assert sequence.stats.choices_renewed == 0


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


def test_growing_keeps_what_is_there():
    store, _ = make_store(None)
    prefill(store)
    for number in range(PROMPT, PROMPT + SPARE_ENTRIES + 30):
        store.begin_step()
        for layer in range(3):
            keys, values = store.update(rows([number]), -rows([number]), layer)
    assert keys.flatten().tolist() == list(range(PROMPT + SPARE_ENTRIES + 30))
    assert torch.equal(values, -keys)
    assert store.get_seq_length() == PROMPT + SPARE_ENTRIES + 30
