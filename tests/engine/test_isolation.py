"""Calls don't influence each other, and nothing is left on the model."""

import threading
import warnings

import pytest
import torch

from dycoke_cli import DyCoke, FastV, RandomMerge
from tests.engine.tiny import SHAPES, make_inputs, make_model

SHAPE = SHAPES[0]
METHODS = [
    None,
    DyCoke(merge_ratio=0.7, prune_ratio=0.7, prune_layer=2),
    DyCoke(merge_ratio=0.3, prune_ratio=0.5, prune_layer=3, positions="kept"),
    RandomMerge(merge_ratio=0.7, kv_prune=False),
    FastV(prune_ratio=0.5, prune_layer=2),
    FastV(prune_ratio=0.8, prune_layer=3),
]
NEW_TOKENS = 8


def answer(model, method, inputs):
    if method is None:
        return model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    with method(model):
        return model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)


@pytest.fixture(scope="module")
def model():
    return make_model(SHAPE)


@pytest.fixture(scope="module")
def inputs():
    return make_inputs(SHAPE, frames=9)


@pytest.fixture(scope="module")
def alone(inputs):
    """Each method's answer on a model of its own."""
    return [answer(make_model(SHAPE), method, inputs) for method in METHODS]


def test_the_methods_differ(alone):
    # Otherwise the tests below could not fail.
    assert len({tuple(tokens[0].tolist()) for tokens in alone}) == len(METHODS)


def test_one_after_the_other(model, inputs, alone):
    for turn in (0, 1, 2, 3, 4, 1, 5, 0, 3, 4, 2, 5):
        assert torch.equal(answer(model, METHODS[turn], inputs), alone[turn])


@pytest.mark.extended
@pytest.mark.slow
def test_in_threads_at_the_same_time(model, inputs, alone):
    right = []
    barrier = threading.Barrier(len(METHODS))

    def work(turn):
        barrier.wait()
        for _ in range(2):
            if torch.equal(answer(model, METHODS[turn], inputs), alone[turn]):
                right.append(turn)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(len(METHODS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(right) == sorted([*range(len(METHODS))] * 2)


def test_nested_attachments_of_two_models(inputs, alone):
    first, second = make_model(SHAPE), make_model(SHAPE)
    with METHODS[1](first), METHODS[2](second):
        assert torch.equal(answer(first, None, inputs), alone[1])
        assert torch.equal(answer(second, None, inputs), alone[2])


def test_the_model_is_bit_for_bit_as_before(inputs):
    model = make_model(SHAPE)
    answer(model, None, inputs)  # a plain generate() may leave something of its own
    before = fingerprint(model)
    for method in METHODS[1:]:
        answer(model, method, inputs)
        with pytest.raises(RuntimeError, match="in the block"), method(model):
            raise RuntimeError("in the block")
    assert fingerprint(model) == before


def fingerprint(model):
    tensors = [(name, tensor.numpy().tobytes()) for name, tensor in model.state_dict().items()]
    modules = [
        (name, type(module), sorted(map(str, vars(module))), count_hooks(module))
        for name, module in model.named_modules()
    ]
    configs = [
        model.config.to_json_string(),
        model.config._attn_implementation,
        model.get_decoder().config._attn_implementation,
        model.generation_config.to_json_string(),
    ]
    return tensors, modules, configs


def count_hooks(module):
    return {key: len(value) for key, value in vars(module).items() if key.endswith("_hooks")}


def test_a_thread_that_did_not_enter_runs_plain(model, inputs, alone):
    # Like torch.no_grad(), an attachment holds for the thread that entered it.
    result = []
    with METHODS[1](model):
        thread = threading.Thread(target=lambda: result.append(answer(model, None, inputs)))
        thread.start()
        thread.join()
        assert torch.equal(answer(model, None, inputs), alone[1])
    assert torch.equal(result[0], alone[0])


def test_another_thread_in_the_middle_of_a_forward(inputs, alone):
    # The embedding runs between the two hooks: there another thread answers a question of its own.
    model = make_model(SHAPE)
    embedding = model.get_input_embeddings()
    result = []

    def meanwhile(*_):
        hook.remove()
        thread = threading.Thread(target=lambda: result.append(answer(model, None, inputs)))
        thread.start()
        thread.join()

    with METHODS[1](model):
        hook = embedding.register_forward_hook(meanwhile)
        compressed = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    assert torch.equal(result[0], alone[0])
    assert torch.equal(compressed, alone[1])


def test_a_block_in_which_nothing_was_compressed_warns(model, inputs):
    def compress_in_another_thread():
        with METHODS[1](model):
            thread = threading.Thread(target=answer, args=(model, None, inputs))
            thread.start()
            thread.join()

    with pytest.warns(UserWarning, match="'dycoke' was attached, but no generate"):
        compress_in_another_thread()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer(model, METHODS[1], inputs)


def test_a_prompt_without_a_video_runs_plain(model):
    text = {"input_ids": torch.tensor([[11, 12, 13, 14]])}
    plain = model.generate(**text, max_new_tokens=8, do_sample=False)
    with pytest.warns(UserWarning, match="no generate"), METHODS[1](model):
        attached = model.generate(**text, max_new_tokens=8, do_sample=False)
    assert torch.equal(plain, attached)
