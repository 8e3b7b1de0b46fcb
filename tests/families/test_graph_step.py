"""Decoding steps as a graph, without a GPU: a replay is the recorded step, run again.

What a GPU would refuse is seen without one, too: waiting for the device, copies from the host, and
memory that isn't where it was when the step was recorded.
"""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from typing import Any

import pytest
import torch
import transformers as tf
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.engine import graph_step, static_step
from dycoke_cli.engine.ask_together import Question, ask_together
from dycoke_cli.engine.attach import attach, flat_without_method
from dycoke_cli.engine.decode_stats import DecodeStats
from dycoke_cli.engine.flat_decode import FlatDecoder
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.generation_state import GenerationState, ShortenedSequence
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.kv_cache import layer as kv_layer
from dycoke_cli.engine.static_step import StaticStep
from dycoke_cli.models.families import family_of
from dycoke_cli.models.load import LoadedModel
from tests.covering import covered
from tests.cuda import needs_cuda
from tests.exactness import assert_same
from tests.families.stock import clip, stock_inputs
from tests.families.test_flat_decode import logits_of, stock

NEW_TOKENS = 12
FAMILIES = ["llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
METHODS = {
    "none": None,
    "merging alone": DyCoke(kv_prune=False),
    "always": DyCoke(prune_layer=2, recall_threshold=1.0),
    "by similarity": DyCoke(prune_layer=1, recall_threshold=0.5, positions="kept"),
    "one-shot": DyCoke(prune_layer=1, recall=False),
}


class Recording:
    """In place of `graph_step.record`: what was recorded, and what was replayed."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed: list[weakref.ref[StaticStep]] = []
        self.fails_from = 1000  # the recording that fails, and all behind it
        self.is_off = 0.0  # what replays add to the last hidden states

    def __call__(self, run: Any, rewind: Any, device: torch.device) -> tuple[torch.Tensor, Any]:
        self.recorded += 1
        expected = run()
        if self.recorded >= self.fails_from:
            raise RuntimeError("operation not permitted when stream is capturing")
        rewind()
        return expected, lambda: run() + self.is_off


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    made, count = Recording(), StaticStep.count
    monkeypatch.setattr(graph_step, "has_graphs", lambda device: True)
    monkeypatch.setattr(graph_step, "record", made)

    def counted(one: StaticStep) -> None:
        made.replayed.append(weakref.ref(one))
        count(one)

    monkeypatch.setattr(StaticStep, "count", counted)
    return made


def answer(model: Any, inputs: Any, method: Any) -> Any:
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False}
    applied = flat_without_method(model) if method is None else attach(model, method)
    with applied as attachment, logits_of(model) as logits:
        tokens = model.generate(**inputs, **options)
    return tokens, logits, attachment and attachment.stats


def assert_as_today(model: Any, inputs: Any, method: Any) -> None:
    ours = answer(model, inputs, method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_step, "has_graphs", lambda device: False)
        theirs = answer(model, inputs, method)
    assert torch.equal(ours[0], theirs[0])
    for logits, expected in zip(ours[1], theirs[1], strict=True):
        assert_same(logits, expected)
    assert ours[2] == theirs[2]


@pytest.mark.parametrize(
    ("family", "name"), covered([(f, n) for f in FAMILIES for n in METHODS], together=1)
)
def test_answers_are_those_of_today(family, name, recording) -> None:
    model, processor = stock(family, torch.float64)
    assert_as_today(model, stock_inputs(family, processor, clip(10)), METHODS[name])
    assert recording.recorded == 1
    # The first step is made as today.
    assert len(recording.replayed) == NEW_TOKENS - 2


@pytest.mark.parametrize("name", ["none", "always"])
def test_storage_is_freed_with_the_call(name, recording) -> None:
    model, processor = stock("llava_onevision", torch.float64)
    inputs = stock_inputs("llava_onevision", processor, clip(10))
    method = METHODS[name]
    with flat_without_method(model) if method is None else attach(model, method) as attachment:
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        assert recording.replayed
        assert recording.replayed[0]() is None
        if attachment is not None:  # what steps counted is there, read or not
            assert attachment.stats[0].choices_renewed == NEW_TOKENS - 2


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("fails_from", [1000, 3])
def test_storage_grows_in_the_middle(name, fails_from, recording, monkeypatch) -> None:
    monkeypatch.setattr(kv_layer, "SPARE_ENTRIES", 2)
    monkeypatch.setattr(static_step, "PARTS", 2)
    monkeypatch.setattr(static_step, "ALIGNED", 1)
    recording.fails_from = fails_from
    model, processor = stock("qwen2_5_vl", torch.float64)
    assert_as_today(model, stock_inputs("qwen2_5_vl", processor, clip(10)), METHODS[name])
    if fails_from == 1000:
        assert recording.recorded >= 4
        assert len(recording.replayed) == NEW_TOKENS - 2
    else:  # then today's steps go on with what the graph's have left
        assert recording.recorded == 3
        assert 4 <= len(recording.replayed) <= 6


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("fails_from", "is_off"), [(1, 0.0), (1000, 1e-6), (1000, float("nan"))])
def test_a_graph_that_fails_or_differs_is_not_used(name, fails_from, is_off, recording) -> None:
    recording.fails_from, recording.is_off = fails_from, is_off
    model, processor = stock("llava_onevision", torch.float64)
    assert_as_today(model, stock_inputs("llava_onevision", processor, clip(10)), METHODS[name])
    assert recording.recorded == 1  # once in a call
    assert not recording.replayed


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
@pytest.mark.parametrize("name", ["merging alone", "always", "by similarity"])
def test_sequences_of_a_batch_with_padding(family, name, recording, monkeypatch) -> None:
    model, processor = stock(family, torch.float64)
    loaded = LoadedModel(family, None, None, model, processor, family_of(model.config), 0.0)
    found = []
    for is_recorded in (True, False):
        monkeypatch.setattr(graph_step, "has_graphs", lambda device, given=is_recorded: given)
        sessions = [VideoSession(loaded, clip(f, seed)) for seed, f in enumerate((9, 5))]
        texts = ("What?", "Is there a dog, and what does it do there?")
        questions = [Question(s, q) for s, q in zip(sessions, texts, strict=True)]
        with logits_of(model) as logits:
            options = GenerationOptions(max_new_tokens=NEW_TOKENS)
            answers = ask_together(questions, METHODS[name], options)
        found.append(([(a.answer, a.tokens, a.decode) for a in answers], logits))
    assert len(recording.replayed) == NEW_TOKENS - 2
    assert found[0][0] == found[1][0]
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        assert_same(ours, theirs)


@needs_cuda
@pytest.mark.parametrize("name", METHODS)
def test_on_a_gpu(name, monkeypatch) -> None:
    record, recorded = graph_step.record, []

    def counted(run: Any, rewind: Any, device: torch.device) -> Any:
        try:
            recorded.append(record(run, rewind, device))
        except RuntimeError as error:  # else it isn't seen: the steps are today's
            pytest.fail(str(error))
        return recorded[-1]

    monkeypatch.setattr(graph_step, "record", counted)
    model, processor = stock("llava_onevision", torch.float64)
    inputs = stock_inputs("llava_onevision", processor, clip(10))
    inputs = {key: tensor.cuda() for key, tensor in inputs.items()}
    assert_as_today(copy.deepcopy(model).cuda(), inputs, METHODS[name])
    assert len(recorded) == 1
    # In bfloat16 words may differ by a near-tie: of the first step that is replayed, logits.
    small = stock("llava_onevision", torch.bfloat16)[0]
    small, found = copy.deepcopy(small).cuda(), []
    inputs = {n: t.bfloat16() if t.is_floating_point() else t for n, t in inputs.items()}
    for is_recorded in (True, False):
        monkeypatch.setattr(graph_step, "has_graphs", lambda device, given=is_recorded: given)
        found.append(answer(small, inputs, METHODS[name])[1][2].float())
    assert len(recorded) == 2
    most = 0.05 * float(found[1].abs().max())
    torch.testing.assert_close(*found, atol=most, rtol=0)


WAITS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "lift_fresh"}


class Launched(TorchDispatchMode):
    """Notes each operation: name, shapes, numbers, and addresses of what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Any] = []
        self._made: dict[int, torch.Tensor] = {}  # kept, so that no address is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in WAITS
        given = tree_leaves((args, kwargs or {}))
        tensors = [one for one in given if torch.is_tensor(one)]
        assert name not in ("index", "index_put_") or all(
            one.dtype not in (torch.bool, torch.uint8) for one in tensors
        )
        held = [one.untyped_storage().data_ptr() for one in tensors]
        self.operations.append(
            (
                str(func),
                [one for one in given if not torch.is_tensor(one)],
                [(one.shape, one.stride(), one.storage_offset(), one.dtype) for one in tensors],
                [None if address in self._made else address for address in held],
            )
        )
        output = func(*args, **kwargs or {})
        for one in tree_leaves(output):
            if torch.is_tensor(one) and one.untyped_storage().data_ptr() not in held:
                self._made[one.untyped_storage().data_ptr()] = one
        return output


@pytest.mark.parametrize("name", METHODS)
def test_each_run_launches_the_same_on_the_same_memory(name, recording, monkeypatch) -> None:
    run, found = StaticStep.run, []

    def watched(one: StaticStep) -> torch.Tensor:
        with Launched() as launched:
            output = run(one)
        found.append(launched.operations)
        return output

    monkeypatch.setattr(StaticStep, "run", watched)
    model, processor = stock("qwen2_5_vl", torch.float32)
    answer(model, stock_inputs("qwen2_5_vl", processor, clip(10)), METHODS[name])
    assert len(found) == NEW_TOKENS
    assert all(operations == found[0] for operations in found)


BARE = {"empty", "new_empty", "empty_like", "_unsafe_view", "device"}


class OnDevice(TorchDispatchMode):
    """Counts operations that compute, and checks that all they read and write is on the GPU.

    Neither views nor empty memory count. What a GPU computes as several kernels counts as often as
    torch has operations for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.computing: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **kwargs or {})
        tensors = [t for t in tree_leaves((args, kwargs, output)) if torch.is_tensor(t)]
        assert all(tensor.device.type == "cuda" for tensor in tensors), func
        results = [result.alias_info for result in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in results)
        name = func.overloadpacket.__name__
        if not is_view and name not in (
            "empty",
            "new_empty",
            "empty_like",
            "_unsafe_view",
            "device",
        ):
            self.computing[str(func)] += 1
        return output


def test_a_step_of_7b_stays_on_the_gpu_in_few_operations() -> None:
    """128 frames of LLaVA-OneVision-7B, of which DyCoke keeps 11,840 tokens.

    Tensors are fake: they have a shape and a device, and no values. Whatever needs a value on the
    host, or gives a result of a size that depends on values, raises.
    """
    visual, behind = 11_840, 20
    length = visual + behind
    store = KVStore(
        layers=28,
        paddings=[0],
        visual=[torch.arange(visual)],
        length=length,
        uncompressed_length=length,
        first_pruned=3,
    )
    selector = VisualSelector(0.7, 0.9)
    config = tf.Qwen2Config(
        hidden_size=3584, intermediate_size=18_944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, vocab_size=8,
    )  # fmt: skip
    with FakeTensorMode(), torch.no_grad(), torch.device("cuda:0"):
        decoder = tf.Qwen2Model._from_config(config, dtype=torch.bfloat16).eval()
        selector._active = torch.arange(int(visual * 0.3))
        selector._reference = torch.empty(visual)
        store.slots[0].slot_of = torch.arange(visual)
        for layer in store.layers:
            layer.keys = torch.empty(1, length + 128, 4, 128, dtype=torch.bfloat16)
            layer.values, layer.entries = torch.empty_like(layer.keys), length + 1
        sequence = ShortenedSequence(0, torch.arange(visual), DecodeStats(), selector)
        positions = torch.zeros(1, 1, dtype=torch.int64)
        state = GenerationState([sequence], positions, None)
        hidden = torch.empty(1, 1, 3584, dtype=torch.bfloat16)
        flat = FlatDecoder(decoder)
        step = StaticStep(
            flat._layers, flat._norm, decoder.rotary_emb, store, state, hidden, positions
        )
        with OnDevice() as counted:
            output = step.run()
    assert output.shape == (1, 3584)
    assert output.dtype == torch.bfloat16
    assert counted.computing.total() <= 620, counted.computing
