"""A long prompt read in chunks: tokens, logits and counts are those of one that is read whole."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
import torch

from dycoke_cli import DyCoke, FastV, Uncompressed, VideoSession
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import ask_together
from dycoke_cli.stock.private_api import cache_of
from tests.exactness import assert_same_steps, generated
from tests.families.sessions import (
    CHUNK,
    FAMILIES,
    NEW_TOKENS,
    Read,
    loaded_of,
    method_of,
    positions_of,
    questions_of,
    read_in_chunks,
    same,
)
from tests.families.stock import QUESTION, clip, stock_inputs
from tests.families.tiny import MAKERS, make

# Masks that aren't just causal, or layers that don't keep every token.
WHOLE = [name for name in ("molmo2", "gemma4", "qwen3_5") if name in MAKERS]


@pytest.fixture
def in_chunks(monkeypatch):
    """Make chunks short enough for a tiny prompt."""
    return partial(read_in_chunks, monkeypatch)


def answer(model, inputs, method):
    with method(model) as attachment, Read(model) as read:
        output = generated(model, inputs, NEW_TOKENS)
    return output, attachment.stats, read


@pytest.mark.parametrize(("family", "name"), [*product(FAMILIES, ("ttm", "kv", "dycoke"))])
def test_tokens_and_logits_are_those_of_one_chunk(family, name, in_chunks) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(9))
    cases = [(p, method_of(name, p)) for p in positions_of(family)]
    whole = [answer(model, inputs, method) for _, method in cases]
    in_chunks()
    for (_, method), (expected, counts, read_whole) in zip(cases, whole, strict=True):
        output, stats, read = answer(model, inputs, method)
        assert output.sequences.tolist() == expected.sequences.tolist()
        assert_same_steps(output.logits, expected.logits)
        assert stats == counts
        assert read.longest == CHUNK < read_whole.longest
        assert sum(read.tokens) == sum(read_whole.tokens)
        assert cache_of(output).nbytes == cache_of(expected).nbytes


@pytest.mark.parametrize(
    ("family", "method"),
    [
        *product(
            ("llava_onevision", "qwen2_5_vl", "qwen3_vl"),
            (Uncompressed(), DyCoke(prune_layer=2, positions="kept")),
        )
    ],
)
def test_a_batch_with_padding(family, method, in_chunks) -> None:
    loaded = loaded_of(family)
    questions = questions_of(loaded)
    whole = ask_together(questions, method, GenerationOptions(max_tokens=6))
    in_chunks()
    with Read(loaded.model) as read:
        chunked = ask_together(questions, method, GenerationOptions(max_tokens=6))
    assert read.longest == CHUNK
    assert all(same(ours, theirs) for ours, theirs in zip(chunked, whole, strict=True))


@pytest.mark.parametrize(("family", "name"), [*product(WHOLE, ("none", "ttm"))])
def test_what_is_not_just_causal_is_read_whole(family, name, in_chunks) -> None:
    loaded = loaded_of(family)
    session = VideoSession(loaded, clip(5))
    method = Uncompressed() if name == "none" else method_of(name, "kept")
    expected = session.ask(QUESTION, method, max_tokens=NEW_TOKENS)
    in_chunks()
    with Read(loaded.model) as read:
        assert same(session.ask(QUESTION, method, max_tokens=NEW_TOKENS), expected)
    assert read.longest > CHUNK


def test_a_choice_inside_the_model_is_made_from_the_whole_prompt(in_chunks) -> None:
    model, processor = make("llava_onevision")
    inputs = stock_inputs("llava_onevision", processor, clip(9))
    expected, _, _ = answer(model, inputs, FastV(prune_layer=1))
    in_chunks()
    output, _, read = answer(model, inputs, FastV(prune_layer=1))
    assert output.sequences.tolist() == expected.sequences.tolist()
    assert read.longest > CHUNK


def test_who_wants_all_rows_gets_them(in_chunks) -> None:
    model, processor = make("llava_onevision")
    inputs = stock_inputs("llava_onevision", processor, clip(9))
    method = DyCoke(prune_layer=2)
    with torch.no_grad(), method(model) as attachment:
        expected = model(**inputs).logits
        in_chunks()
        logits = model(**inputs).logits
    text = inputs["input_ids"].shape[1] - attachment.stats[0].visual
    assert logits.shape[1] == attachment.stats[0].visual_kept + text
    assert torch.equal(logits, expected)
    with method(model):
        hidden = model.generate(
            **inputs,
            max_new_tokens=2,
            do_sample=False,
            return_dict_in_generate=True,
            output_hidden_states=True,
        ).hidden_states
    assert hidden[0][0].shape[1] == logits.shape[1]
