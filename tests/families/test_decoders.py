"""Sinks and soft caps of text decoders count in every answer: it is that of stock transformers."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dycoke_cli import DyCoke, FastV, PyramidDrop, Uncompressed, VideoSession
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.errors import UsageError
from dycoke_cli.kernels.attention import NAME
from dycoke_cli.kernels.replacing import use_custom_attention
from dycoke_cli.stock.private_api import attention_implementation
from tests.exactness import assert_same_steps, generated
from tests.families.decoders import DECODERS, WHOLE, loaded_around, make_around
from tests.families.sessions import read_in_chunks, same
from tests.families.stock import QUESTION, Masked, clip, stock_inputs
from tests.families.tiny import make
from tests.families.typed import TYPED, Shortened, assert_scores, ids_of, summed, whole_forward

NEW_TOKENS = 5
FAMILY = "llava_onevision"
# Each keeps every token, by another way through the engine.
KEEPING: dict[str, Method] = {
    "none": Uncompressed(),
    "before": create("evs", retain=1.0),
    "kv": DyCoke(merge_ratio=0.0, prune_ratio=0.0, prune_layer=2),
    "inside": FastV(prune_layer=1, prune_ratio=0.0),
    "in stages": PyramidDrop(stage_layers=1, prune_ratio=0.0),
}
MODELS = [*((kind, False) for kind in DECODERS), *((kind, True) for kind in WHOLE)]


def written(model: Any, processor: Any, frames: int = 5) -> tuple[list[int], tuple[Any, ...]]:
    inputs = stock_inputs(FAMILY, processor, clip(frames))
    inputs = {n: t.to(model.dtype) if t.is_floating_point() else t for n, t in inputs.items()}
    output = generated(model, inputs, NEW_TOKENS)
    return output.sequences[0, -NEW_TOKENS:].tolist(), output.logits


@pytest.mark.parametrize(
    ("kind", "whole", "name"),
    [
        (kind, whole, name)
        for (kind, whole), name in product(MODELS, KEEPING)
        if whole or name in ("none", "before")
    ],
)
def test_every_way_through_the_engine_keeps_stock_logits(kind: str, whole: bool, name: str) -> None:
    model, processor = make_around(kind, whole=whole)
    tokens, logits = written(model, processor)
    with attach(model, KEEPING[name]):
        ours, found = written(model, processor)
    assert ours == tokens
    assert_same_steps(found, logits)


@pytest.mark.parametrize("kind", [*DECODERS, "qwen2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eager_attention_keeps_its_rounding(kind: str, dtype: torch.dtype) -> None:
    model, processor = (
        make(FAMILY, dtype) if kind == "qwen2" else make_around(kind, whole=False, dtype=dtype)
    )
    stock = attention_implementation(model.get_decoder())
    model.set_attn_implementation("eager")
    try:
        expected = torch.stack(written(model, processor)[1])
        for block in (attach(model, Uncompressed()), attach(model, KEEPING["before"])):
            with block:
                assert torch.equal(torch.stack(written(model, processor)[1]), expected)
    finally:
        model.get_decoder().set_attn_implementation(stock)
    assert "eager" not in ALL_ATTENTION_FUNCTIONS


@pytest.mark.parametrize(("kind", "merge_ratio"), [("gpt_oss", 0.5), ("gemma2", None)])
def test_what_is_pruned_is_chosen_by_the_attention_of_the_model(
    kind: str, merge_ratio: float | None
) -> None:
    """The reference takes attention from the stock model, and masks what is pruned."""
    model, processor = make_around(kind, whole=True)
    inputs = stock_inputs(FAMILY, processor, clip(5))
    method = DyCoke(
        merge_ratio=merge_ratio or 0.0, ttm=merge_ratio is not None, prune_ratio=0.5,
        prune_layer=2, positions="kept",
    )  # fmt: skip
    tokens, logits, actives = Masked(model, inputs, 5).generate_by(method, NEW_TOKENS)
    assert len({*map(tuple, actives)}) > 1  # it selects anew
    with attach(model, method, trace=1) as attachment:
        ours, found = written(model, processor)
    assert ours == tokens
    assert_same_steps(found, logits)
    assert [active.tolist() for active in attachment.recorder.active] == actives


@pytest.mark.parametrize(
    ("kind", "whole", "name", "parameters"),
    [
        ("gpt_oss", True, "none", {}),
        ("gpt_oss", False, "none", {}),
        ("gemma2", True, "evs", {}),
        ("flint", True, "tome", {"proportional": True}),
    ],
)
def test_each_option_is_a_forward_over_the_tokens_that_a_method_keeps(
    kind: str,
    whole: bool,
    name: str,
    parameters: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, processor = make_around(kind, whole=whole)
    shortened = Shortened(monkeypatch)
    session = VideoSession(loaded_around(kind, whole=whole), clip(4))
    answer = session.ask(QUESTION, create(name, **parameters), typed=TYPED)
    options = ids_of(processor, answer)
    if name == "none":
        inputs = stock_inputs(FAMILY, processor, clip(4))
        with torch.no_grad():
            expected = [summed(whole_forward(model, inputs, ids), ids) for ids in options]
    else:
        expected = shortened.scores(model, options)
    assert_scores(answer, expected)


@pytest.mark.parametrize("kind", ["gpt_oss", "gemma2"])
def test_padding_and_chunks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_around(kind, whole=True)
    options = GenerationOptions(max_tokens=NEW_TOKENS)
    sessions = [VideoSession(loaded, clip(frames), reuse=False) for frames in (2, 5)]
    method = DyCoke(prune_layer=2)
    alone = [session.ask(QUESTION, method, max_tokens=NEW_TOKENS) for session in sessions]
    questions = [Question(session, QUESTION) for session in sessions]
    together = ask_together(questions, method, options)
    assert all(map(same, together, alone))
    read_in_chunks(monkeypatch)
    assert same(sessions[1].ask(QUESTION, method, max_tokens=NEW_TOKENS), alone[1])


@pytest.mark.parametrize(("kind", "stock"), [("gpt_oss", "eager"), ("deepseek_v32", "sdpa")])
def test_kernels_replace_nothing_but_plain_sdpa(kind: str, stock: str) -> None:
    """Not sinks, and not an attention that selects keys unless its name is a stock one."""
    model, processor = make_around(kind, whole=False)
    expected = written(model, processor)
    assert use_custom_attention(model)
    try:
        decoder, tower = model.get_decoder(), model.model.vision_tower
        assert attention_implementation(decoder) == stock
        assert NAME in attention_implementation(tower)
        assert written(model, processor)[0] == expected[0]
    finally:
        model.model.vision_tower.set_attn_implementation("sdpa")
        model.config._attn_implementation = "sdpa"


@pytest.mark.parametrize(
    ("kind", "method", "sentence"),
    [
        ("diffllama", KEEPING["kv"], "attends more than once"),
        ("dory", KEEPING["before"], "runs its layers in a loop"),
        # Where tokens were dropped.
        ("dory", FastV(prune_layer=1), "runs its layers in a loop"),
        ("diffllama", KEEPING["in stages"], "attends more than once"),
        ("dory", KEEPING["in stages"], "attends more than once"),
        ("dory", PyramidDrop(stage_layers=1), "runs its layers in a loop"),
    ],
)
def test_layers_that_attend_otherwise_are_refused(kind: str, method: Method, sentence: str) -> None:
    model, processor = make_around(kind, whole=True, dtype=torch.float32)
    with pytest.raises(UsageError, match=sentence), attach(model, method):
        written(model, processor)
