"""Decoding steps as one function: bit by bit what the model's own modules give, or not taken."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dycoke_cli import DyCoke, FastV, Uncompressed, VideoSession
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.flat_decode import FlatDecoder
from dycoke_cli.engine.generation_options import GenerationOptions, TypedOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.stock.private_api import attention_implementation
from tests.families.listed import llava_onevision
from tests.families.parts import TEXT
from tests.families.sessions import as_loaded, logits_of, read_in_chunks
from tests.families.stock import (
    MERGING_ONLY,
    NONE_ONLY,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.tiny import MAKERS, make, sharpened

NEW_TOKENS = 4
SERVED = [name for name in MAKERS if name not in (*MERGING_ONLY, *NONE_ONLY)]
# Of other mathematics: mixtures of experts, other norms, other turns.
BY_MODULES = {
    "qwen3_vl_moe", "cosmos3_edge", "cohere_compass", "glm4v", "glm46v", "glm4v_moe", "molmo2",
}  # fmt: skip
FLAT = [name for name in SERVED if name not in BY_MODULES]
# Each of another class of layers; the other families have one of theirs.
CLASSES = ["llava_onevision", "llava_next_video", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3"]
METHODS = {
    "merging alone": DyCoke(kv_prune=False),
    "reselecting": DyCoke(prune_layer=2, recall_threshold=1.0),
    "by similarity": DyCoke(prune_layer=1, recall_threshold=0.9, positions="kept"),
    "without recall": DyCoke(prune_layer=1, recall=False),
    "published": DyCoke(prune_layer=2, variant="published"),
    "inside": FastV(prune_layer=1),
}


@lru_cache(maxsize=2)
def stock(family: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """A model as it is stock, also in float64: its norms compute in float32 there."""
    if family == "qwen3":  # LLaVA-OneVision around it; InternVL 3.5 has it in another class
        torch.manual_seed(0)
        model, processor = llava_onevision(TEXT | {"model_type": "qwen3"})()
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        return model.eval().to(dtype), processor
    if dtype != torch.float64:
        return make(family, dtype)
    model, processor = make(family, torch.float32)
    return deepcopy(model).double(), processor


@contextmanager
def counted() -> Iterator[list[FlatDecoder]]:
    """Within the block, one entry for each flat step."""
    steps: list[FlatDecoder] = []
    patch = pytest.MonkeyPatch()
    step = FlatDecoder.step
    patch.setattr(FlatDecoder, "step", lambda flat, of: steps.append(flat) or step(flat, of))
    try:
        yield steps
    finally:
        patch.undo()


def answer(model: Any, inputs: Any, method: Any, *, flat: bool, **more: Any) -> Any:
    """Tokens, logits, counts, and how many steps were flat."""
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False} | more
    attached = attach(model, method, flat=flat)
    with attached as attachment, logits_of(model) as logits, counted() as steps:
        output = model.generate(**inputs, **options)
    return output, logits, attachment.stats, len(steps)


def same_numbers(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def assert_equal(model: Any, inputs: Any, method: Any, *, steps: int = NEW_TOKENS - 1) -> None:
    ours, logits, stats, taken = answer(model, inputs, method, flat=True)
    theirs, expected, counts, never = answer(model, inputs, method, flat=False)
    assert (taken, never) == (steps, 0)
    assert torch.equal(ours, theirs)
    assert same_numbers(logits, expected)
    assert stats == counts


@pytest.mark.parametrize(
    ("family", "name"),
    # The published variant renumbers positions, which isn't for those of three rows.
    [
        *((f, n) for f in CLASSES for n in METHODS if n != "published" or "_vl" not in f),
        *((f, n) for f in FLAT if f not in CLASSES for n in ("reselecting", "inside")),
    ],
)
def test_each_number_is_that_of_the_modules(family, name) -> None:
    model, processor = stock(family, torch.bfloat16)
    # The published variant compares more than four of what the model takes for frames.
    assert_equal(model, stock_inputs(family, processor, clip(10)), METHODS[name])


def test_several_tokens_are_read_by_the_modules() -> None:
    """The options of a typed answer are a tree of tokens, and a flat step reads one."""
    model, processor = stock("qwen2_5_vl", torch.float32)
    loaded = as_loaded("qwen2_5_vl", model, processor)
    typed, found = TypedOptions(("a dog", "a dog that runs", "cat")), []
    for kernels in ("fast", "stock"):
        session = VideoSession(replace(loaded, kernels=kernels), clip(5))
        with counted() as steps:
            found.append(session.ask("What?", METHODS["merging alone"], typed=typed))
        assert not steps
    assert found[0].scoring == found[1].scoring


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*product(CLASSES, (torch.float32, torch.float64, torch.float16))],
)
def test_in_other_dtypes_too(family, dtype) -> None:
    model, processor = stock(family, dtype)
    inputs = stock_inputs(family, processor, clip(5))
    assert_equal(model, inputs, METHODS["reselecting"])


@pytest.mark.parametrize("family", sorted(BY_MODULES & set(SERVED)))
def test_layers_of_other_mathematics_stay_on_their_modules(family) -> None:
    model, processor = stock(family, torch.float32)
    inputs = stock_inputs(family, processor, clip(3))
    assert answer(model, inputs, METHODS["reselecting"], flat=True)[-1] == 0


# The baseline too: a comparison would count for a method what the function around it saves.
SEVERAL = {
    "reselecting": METHODS["reselecting"], "without recall": METHODS["without recall"],
    "baseline": Method(),
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "name"),
    one_of_each_kind(
        product(CLASSES, SEVERAL), (("qwen2_5_vl", "reselecting"), ("qwen3_vl", "baseline"))
    ),
)
def test_batches_and_second_questions_in_chunks(family, name, monkeypatch) -> None:
    read_in_chunks(monkeypatch)
    model, processor = stock(family, torch.bfloat16)
    decoder, method = model.get_decoder(), SEVERAL[name]
    before = decoder.forward, attention_implementation(decoder)
    loaded = as_loaded(family, model, processor)
    found = []
    for kernels in ("fast", "stock"):
        loaded = replace(loaded, kernels=kernels)
        sessions = [VideoSession(loaded, clip(f, seed)) for seed, f in enumerate((1, 5, 3))]
        options = GenerationOptions(max_tokens=NEW_TOKENS)
        with logits_of(model) as logits, counted() as steps:
            texts = ("What?", "Is there a dog, and what does it do there?", "Why?")
            questions = [Question(s, q) for s, q in zip(sessions, texts, strict=True)]
            answers = ask_together(questions, method, options)
            for text in texts:
                answers.append(sessions[1].ask(text, method, max_tokens=NEW_TOKENS))
        assert len(steps) == (4 * (NEW_TOKENS - 1) if kernels == "fast" else 0)
        found.append(([(a.answer, a.tokens, a.decode) for a in answers], logits))
    assert found[0][0] == found[1][0]
    assert same_numbers(found[0][1], found[1][1])
    assert (decoder.forward, attention_implementation(decoder)) == before


class Around(nn.Module):
    """A linear layer with something small added, as adapters do."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.small = nn.Parameter(torch.tensor(0.25))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.linear(x)
        return rows + self.small * rows.roll(1, -1)


def test_linear_layers_are_called_as_the_modules_they_are() -> None:
    model, processor = stock("qwen3_vl", torch.float32)
    model = deepcopy(model)
    inputs = stock_inputs("qwen3_vl", processor, clip(3))
    before = answer(model, inputs, METHODS["reselecting"], flat=True)[1]
    seen = []
    for layer in model.get_decoder().layers:
        layer.self_attn.q_proj = Around(layer.self_attn.q_proj)
        layer.mlp.down_proj.register_forward_hook(lambda module, args, output: seen.append(output))
    assert_equal(model, inputs, METHODS["reselecting"])
    after = answer(model, inputs, METHODS["reselecting"], flat=True)[1]
    assert not torch.equal(after[-1], before[-1])
    assert len(seen) >= NEW_TOKENS * len(model.get_decoder().layers)


def _hook(module: nn.Module) -> None:
    module.register_forward_hook(lambda module, args, output: None)


def _hook_before(module: nn.Module) -> None:
    module.register_forward_pre_hook(lambda module, args: None)


def _replace_forward(module: nn.Module) -> None:
    stock_forward = module.forward
    module.forward = lambda *args, **kwargs: stock_forward(*args, **kwargs)  # type: ignore[method-assign]


def _other_class(module: nn.Module) -> None:
    module.__class__ = type(type(module).__name__, (type(module),), {"__module__": __name__})


PARTS = {
    "layer": lambda layer: layer,
    "attention": lambda layer: layer.self_attn,
    "mlp": lambda layer: layer.mlp,
    "norm": lambda layer: layer.input_layernorm,
    "second norm": lambda layer: layer.post_attention_layernorm,
    "norm of queries": lambda layer: layer.self_attn.q_norm,
}


@pytest.mark.parametrize(
    ("part", "change"),
    [*product(PARTS, (_hook, _hook_before, _replace_forward, _other_class))],
)
def test_what_is_hooked_or_replaced_stays_on_modules(part, change) -> None:
    model, processor = stock("qwen3_vl", torch.float32)
    model = deepcopy(model)
    change(PARTS[part](model.get_decoder().layers[-1]))
    inputs = stock_inputs("qwen3_vl", processor, clip(3))
    assert_equal(model, inputs, METHODS["reselecting"], steps=0)


def test_a_class_that_computes_something_else_stays_on_its_modules(monkeypatch) -> None:
    """As a later version of transformers may."""
    model, processor = stock("llava_onevision", torch.float32)
    inputs = stock_inputs("llava_onevision", processor, clip(3))
    mlp = type(model.get_decoder().layers[0].mlp)
    forward = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda self, x: forward(self, x) * 1.01)
    assert_equal(model, inputs, METHODS["reselecting"], steps=0)


def test_who_wants_hidden_states_gets_them() -> None:
    model, processor = stock("llava_onevision", torch.float32)
    model = deepcopy(model)  # transformers leaves its hooks on it
    inputs = stock_inputs("llava_onevision", processor, clip(3))
    with METHODS["reselecting"](model), counted() as steps:
        output = model.generate(
            **inputs, max_new_tokens=3, output_hidden_states=True, return_dict_in_generate=True
        )
    assert not steps
    assert [len(states) for states in output.hidden_states] == [
        model.get_decoder().config.num_hidden_layers + 1
    ] * 3


def test_without_a_method_sliding_windows_are_not_flat() -> None:
    """The first layer attends to every token, and agrees; the others attend to a window."""
    torch.manual_seed(0)
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    model, processor = llava_onevision(TEXT | {"model_type": "qwen2"} | window)()
    sharpened(model, torch.float32)
    inputs = stock_inputs("llava_onevision", processor, clip(3))
    inputs = {n: t.float() if t.is_floating_point() else t for n, t in inputs.items()}
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False}
    with logits_of(model) as expected:
        model.generate(**inputs, **options)
    with attach(model, Uncompressed()), logits_of(model) as logits, counted() as steps:
        model.generate(**inputs, **options)
    assert not steps
    assert same_numbers(logits, expected)


class Waits(TorchDispatchMode):
    """Counts the operations at which the host would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique", "equal")
        self.names += [name for name in waits if func.overloadpacket.__name__ == name]
        return func(*args, **kwargs or {})


WAITS = {
    "merging alone": [],
    # One selection for good.
    "without recall": [],
    # Has attention moved?
    "staying": ["_local_scalar_dense"],
    # How many stayed, for the report; which come, and whose slots they take.
    "reselecting": ["_local_scalar_dense", "nonzero", "nonzero"],
}


@pytest.mark.parametrize("name", WAITS)
def test_what_a_step_waits_for_on_a_device(name, monkeypatch) -> None:
    model, processor = stock("llava_onevision", torch.float32)
    inputs = stock_inputs("llava_onevision", processor, clip(5))
    step, found = FlatDecoder.step, []

    def watched(flat: FlatDecoder, arguments: Any) -> Any:
        with Waits() as waits:
            output = step(flat, arguments)
        found.append(waits.names)
        return output

    monkeypatch.setattr(FlatDecoder, "step", watched)
    staying = DyCoke(prune_layer=2, recall_threshold=0.0)
    with METHODS.get(name, staying)(model):
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    assert found[1:] == [WAITS[name]] * (NEW_TOKENS - 2)  # the first step has the first selection


def test_no_trace_is_left_on_the_model() -> None:
    model, _ = stock("llava_onevision", torch.float32)
    decoder = model.get_decoder()
    with METHODS["reselecting"](model):
        assert "forward" in vars(decoder)

        def attach_and_detach() -> None:
            with METHODS["reselecting"](model), warnings.catch_warnings(action="ignore"):
                pass

        with ThreadPoolExecutor() as pool:
            pool.submit(attach_and_detach).result()
        assert "forward" in vars(decoder)
    assert "forward" not in vars(decoder)
