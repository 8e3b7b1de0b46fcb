"""Visual tokens in main memory: answers and counts are those of the device, bytes by hand."""

from dataclasses import replace

import pytest
import torch

from dycoke_cli import DyCoke, RandomMerge
from dycoke_cli.engine.kv_cache.layer import SPARE_ENTRIES
from dycoke_cli.engine.kv_cache.offloaded import PinnedHostBuffer
from dycoke_cli.stock.private_api import cache_of
from tests.covering import covered
from tests.cuda import needs_cuda
from tests.engine.test_batches import answer, batch_of, prompts
from tests.engine.test_kv_store import PROMPT, Pruning, VisualSelector, make_store, prefill, step
from tests.engine.tiny import SHAPES, make_inputs, make_model

METHODS = [
    DyCoke(prune_layer=2),
    DyCoke(prune_layer=1, merge_ratio=0.3, prune_ratio=0.9, recall_threshold=1.0),
    DyCoke(prune_layer=3, positions="kept", recall_threshold=1.0),
    DyCoke(ttm=False, prune_layer=2, recall_threshold=1.0),
    RandomMerge(merge_ratio=0.5, prune_layer=2, recall_threshold=1.0),
    DyCoke(merge_ratio=0.0, prune_ratio=0.0, prune_layer=2),  # everything stays active
]
ROW = 2 * 2 * 8 * 8  # bytes: keys and values of 2 heads of 8 float64 in one layer
TEXT = 3 + 1 + 5  # tokens of a prompt without more text: before, the newline, behind


def on_both(model, method, inputs):
    """(output, counts) with what waits on the device, and on the host."""
    return [answer(model, replace(method, dp_cache=where), inputs) for where in ("device", "host")]


PROMPTS = (8, (0,)), (5, (3, 0, 9)), (8, (2, 2)), (1, (0, 4))


@pytest.mark.parametrize(
    ("method", "frames", "texts"),
    covered(((method, *prompt) for method in METHODS for prompt in PROMPTS), together=1),
)
def test_tokens_logits_and_counts_are_those_of_the_device(method, frames, texts):
    model = make_model(SHAPES[0], seed=frames)
    inputs = batch_of(prompts(SHAPES[0], frames, texts))
    (ours, counts), (theirs, theirs_counts) = on_both(model, method, inputs)
    assert torch.equal(ours.sequences, theirs.sequences)
    for one, other in zip(ours.logits, theirs.logits, strict=True):
        assert torch.equal(one, other)
    assert counts == theirs_counts
    if method.recall_threshold == 1.0 and frames > 1:
        assert all(row.tokens_recalled for row in counts)


def test_a_sequence_without_a_video():
    model, method = make_model(SHAPES[0]), DyCoke(prune_layer=2, recall_threshold=1.0)
    rows = prompts(SHAPES[0], 5, (1, 3))
    text = {
        "input_ids": torch.arange(11, 31)[None],
        "attention_mask": torch.ones(1, 20).long(),
        "pixel_values_videos": rows[0]["pixel_values_videos"][:0],
    }
    (ours, counts), (theirs, theirs_counts) = on_both(model, method, batch_of([*rows, text]))
    assert torch.equal(ours.sequences, theirs.sequences)
    assert counts == theirs_counts


def test_bytes_are_where_they_are_said_to_be():
    model = make_model(SHAPES[0])  # 5 layers, 4 tokens a frame
    method = DyCoke(prune_layer=2, recall_threshold=1.0, dp_cache="host")
    output, [stats] = answer(model, method, make_inputs(SHAPES[0], 8))
    store = cache_of(output)
    kept = 4 * 2 + 6 * int(0.3 * 4)
    active = int(kept * 0.3)
    assert stats.tokens_recalled > 0
    assert store.host_nbytes == 3 * ROW * kept
    on_device = 2 * (kept + TEXT + SPARE_ENTRIES) + 3 * (active + TEXT + SPARE_ENTRIES)
    assert store.nbytes == ROW * on_device + store.host_nbytes
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for layer in store.layers
        for tensor in (layer.keys, layer.values)
    }
    assert sum(storages.values()) == ROW * on_device
    steps = len(output.logits) - 1
    assert store.active_nbytes == ROW * (2 * (kept + TEXT + steps) + 3 * (active + TEXT + steps))


def test_bytes_of_a_batch_are_those_of_its_widest_sequence():
    model = make_model(SHAPES[0])
    method = DyCoke(prune_layer=2, dp_cache="host")
    output, stats = answer(model, method, batch_of(prompts(SHAPES[0], 5, (3, 0))))
    store = cache_of(output)
    kept = 4 * 2 + 3 * int(0.3 * 4)  # frames 0 and 4 begin a window
    assert [row.visual_kept for row in stats] == [kept, kept]
    active = int(kept * 0.3)
    assert store.host_nbytes == 3 * ROW * 2 * kept
    widest = 2 * (kept + TEXT + 3 + SPARE_ENTRIES) + 3 * (active + TEXT + 3 + SPARE_ENTRIES)
    assert store.nbytes == 2 * ROW * widest + store.host_nbytes


def test_a_prompt_leaves_the_device_as_it_is_read():
    store, row = make_store(Pruning(2, VisualSelector(0.5, 0.9), "host"))
    prefill(store)
    # Of ten rows six are visual; a key and a value of one float32 each.
    assert [layer.nbytes for layer in store.layers] == [8 * (PROMPT + SPARE_ENTRIES)] * 2 + [
        8 * (PROMPT - 6 + SPARE_ENTRIES)
    ]
    assert store.host_nbytes == 8 * 6
    step(store, row, [9.0, 8, 7, 0, 0, 0], 10)
    assert store.layers[2].nbytes == 8 * (PROMPT - 3 + SPARE_ENTRIES)
    assert store.host_nbytes == 8 * 6


@needs_cuda
def test_rows_on_the_host_are_pinned_and_come_back_as_they_went():
    rows = torch.randn(1000, 2, 8, device="cuda")
    host = PinnedHostBuffer(rows)
    expected = rows.cpu()
    rows.zero_()  # behind the copy out, which the caller doesn't wait for
    which = torch.tensor([7, 999, 0, 512])
    assert torch.equal(host.fetch(which).cpu(), expected[which])
    assert host._entries.is_pinned()


@needs_cuda
def test_on_an_accelerator_main_memory_is_pinned_and_answers_are_the_same():
    model = make_model(SHAPES[0]).cuda()
    method = DyCoke(prune_layer=2, recall_threshold=1.0)
    inputs = {k: v.cuda() for k, v in batch_of(prompts(SHAPES[0], 8, (3, 0, 9))).items()}
    (ours, counts), (theirs, theirs_counts) = on_both(model, method, inputs)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert counts == theirs_counts
