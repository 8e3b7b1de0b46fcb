"""Each family × method × number of frames: tokens and logits are those of stock transformers.

`make test-extended` has every two of the three together, and `make test` each of them, spread over
the others: what a method does to a prompt doesn't depend on the family that made it. Prompts, and
the masked reference, are compared for each family; plain `generate()` and sessions for one of a
kind.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, FastV, PyramidDrop, SparseVLM, Uncompressed, VideoSession
from dycoke_cli.engine import vision
from dycoke_cli.engine.memory import flops
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import FAMILIES, family_of
from dycoke_cli.models.families.layout import normalised
from tests.exactness import assert_generated, assert_same, assert_same_steps, generated
from tests.families.sessions import (
    METHODS,
    NEW_TOKENS,
    as_loaded,
    method_of,
    positions_of,
    prompt_about,
    rows_of_stock,
    runs,
)
from tests.families.stock import (
    BOTH_WAYS,
    MERGING_ONLY,
    NONE_ONLY,
    QUESTION,
    Cut,
    Masked,
    best,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.tiny import MAKERS, kind, make

FRAMES = (1, 4, 5, 13)


def plain(model: Any, inputs: Any) -> list[int]:
    output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    return output[0, -NEW_TOKENS:].tolist()


def test_every_family_is_in_the_matrix() -> None:
    assert {kind(name) for name in MAKERS} == {*FAMILIES}


@pytest.mark.parametrize(("family", "frames"), [*product(MAKERS, FRAMES)])
def test_prompt_and_rows_are_those_of_the_stock_model(family, frames, monkeypatch) -> None:
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", 1)  # one frame at a time
    model, processor = make(family)
    shown = clip(frames)
    known = family_of(model.config)
    prompt = prompt_about(model, processor, shown)
    stock = stock_inputs(family, processor, shown)
    assert torch.equal(prompt.input_ids(QUESTION), stock["input_ids"])
    pixels = prompt.inputs[known.pixels.key]
    assert pixels.dtype == torch.uint8
    floats = normalised(pixels, processor.video_processor, known.pixels)
    assert torch.equal(floats.double(), stock[known.pixels.key])
    rows, stacked = rows_of_stock(model, prompt, stock)
    encoded = vision.encode_video(model, known, prompt)
    ours = encoded.embeddings, *encoded.deepstack
    for mine, theirs in zip(ours, (rows, *stacked), strict=True):
        assert_same(mine, theirs)


def cells(family: str) -> list[tuple[int, str]]:
    """Frames and methods: all frames, and all methods that the family can serve."""
    if "kv" not in runs(family):
        return [(frames, name) for frames in FRAMES for name in runs(family)]
    # Both stages with what is odd: one frame, a window and a part of one, many windows.
    return [(1, "dycoke"), (4, "kv"), (5, "ttm"), (5, "dycoke"), (13, "dycoke")]


@pytest.mark.parametrize("family", MAKERS)
def test_what_a_family_can_serve_is_what_its_layers_allow(family) -> None:
    model, _ = make(family)
    known = family_of(model.config)
    assert bool(known.only_none) == (family in NONE_ONLY)
    others = bool(other_caches(model.get_decoder().config))
    assert others == (family in (*MERGING_ONLY, *NONE_ONLY))
    sentence = "--method none works" if known.only_none else "--no-kv-prune leaves temporal"
    for method in METHODS:
        if method not in runs(family):
            refused = pytest.raises(UsageError, match=sentence)
            with refused, method_of(method, "kept")(model):
                pass


@pytest.mark.parametrize(("family", "frames"), [*product(MAKERS, (1, 5))])
def test_with_everything_kept_tokens_are_those_of_plain_generate(family, frames) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(frames))
    expected = plain(model, inputs)
    for positions in positions_of(family) if runs(family) else ():
        keep_all = DyCoke(
            merge_ratio=0.0,
            prune_ratio=0.0,
            prune_layer=2,
            positions=positions,
            kv_prune="kv" in runs(family),
        )
        with keep_all(model):
            assert plain(model, inputs) == expected
    for layer in (1, 2) if "kv" in runs(family) and family not in BOTH_WAYS else ():
        with FastV(prune_ratio=0.0, prune_layer=layer)(model):
            assert plain(model, inputs) == expected
        with PyramidDrop(prune_ratio=0.0, stage_layers=layer)(model):
            assert plain(model, inputs) == expected


@pytest.mark.parametrize(
    ("family", "frames", "method"),
    [(family, *cell) for family in MAKERS for cell in cells(family)],
)
def test_pruned_it_is_the_masked_reference(family, frames, method) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(frames))
    frames = prompt_about(model, processor, clip(frames)).frames
    for positions in positions_of(family):
        attached, reference = method_of(method, positions), Masked(model, inputs, frames)
        tokens, logits, actives = reference.generate_or_shorten(attached, NEW_TOKENS)
        with attached(model) as attachment:
            output = generated(model, inputs, NEW_TOKENS)
        assert_generated(output, tokens, logits)
        assert attachment.stats[0].active == [len(active) for active in actives]


@pytest.mark.parametrize(
    "family",
    [family for family in MAKERS if "kv" in runs(family) and family not in BOTH_WAYS],
)
def test_halved_layer_by_layer_it_is_the_masked_reference(family) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    frames = prompt_about(model, processor, clip(5)).frames
    layers = range(1, len(model.get_decoder().layers))
    cuts = [Cut(layer, layer, best(0.5)) for layer in layers]
    logits, counts = Masked(model, inputs, frames).generate_in_cuts(NEW_TOKENS, cuts)
    with PyramidDrop(stage_layers=1, stages=len(layers) + 1)(model) as attachment:
        output = generated(model, inputs, NEW_TOKENS)
    assert len(counts) >= 2
    assert attachment.stats[0].left == dict(zip(layers, counts, strict=True))
    assert_same_steps(output.logits, logits)


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS, ("qwen3_vl", "qwen3_5")))
def test_a_session_answers_as_the_attached_model_does(family) -> None:
    check_session(family, *make(family))


def check_session(family: str, model: Any, processor: Any) -> None:
    """A session's answers are those of stock `generate()` with the method attached."""
    shown = clip(5)
    session = VideoSession(as_loaded(family, model, processor), shown)
    inputs = stock_inputs(family, processor, shown)
    methods = [Uncompressed(), *(method_of(name, "kept") for name in runs(family))]
    if "kv" in runs(family) and family not in BOTH_WAYS:
        methods += [FastV(prune_ratio=0.5, prune_layer=1), PyramidDrop(), SparseVLM()]
    for method in methods:
        answer = session.ask(QUESTION, method, max_tokens=NEW_TOKENS)
        if method.name == "none":
            expected = plain(model, inputs)
        else:
            with method(model):
                expected = plain(model, inputs)
        assert (
            answer.answer == processor.tokenizer.decode(expected, skip_special_tokens=True).strip()
        )
        assert answer.frames.count == 5
