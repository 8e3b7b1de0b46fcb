"""Families that the table doesn't know: what is found of them, and that they answer."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import transformers

from benchmarks.families import PAGE, table
from benchmarks.page import ROOT
from dycoke_cli import Uncompressed
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.families.discovery import find_layout
from tests.exactness import assert_generated, generated
from tests.families.found import (
    FOUND,
    MERGING_ONLY,
    NONE_ONLY,
    found,
    newest,
    session,
    stock_inputs,
    words,
)
from tests.families.sessions import METHODS, NEW_TOKENS, method_of
from tests.families.stock import QUESTION, Masked, Shorter, clip
from tests.families.tiny import MAKERS, UNLISTED_MAKERS, kind, make, skip_unless_it_runs

pytestmark = [newest, pytest.mark.extended]

GRIDS = ("glmga", "ernie4_5_vl_moe", "minicpmv4_7", "qwen2_5_omni", "qwen3_omni_moe", "qwen4_exp")
# Of the table: what makes attention masks of its own isn't proven, so it stays listed.
OWN_MASKS = ("gemma4", "gemma4_large", "gemma4_unified", "molmo2")


def test_the_matrix_has_each_family_that_transformers_has() -> None:
    """Each class with a video processor: the next release shows here what is missing."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

    answering = {
        config.model_type
        for mapping in (
            transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
            transformers.MODEL_FOR_MULTIMODAL_LM_MAPPING,
        )
        for config in mapping
    }
    shown_videos = {
        name
        for name in answering & VIDEO_PROCESSOR_MAPPING_NAMES.keys()
        if name not in PROCESSOR_MAPPING_NAMES
        or "video_processor"
        in getattr(transformers, PROCESSOR_MAPPING_NAMES[name]).get_attributes()
    }
    # GLM-4.5V has the processor of GLM-4.1V, which no mapping says. InstructBLIP-Video takes the
    # frames as images and its language model embeddings: it isn't supported.
    shown_videos = shown_videos - {"instructblipvideo"} | {"glm4v_moe"}
    assert {kind(name) for name in (*MAKERS, *UNLISTED_MAKERS)} == shown_videos


def test_the_pages_say_what_is_found() -> None:
    expected = table({name: found(name, torch.float32)[2] for name in UNLISTED_MAKERS})
    page = PAGE.read_text(encoding="utf-8")
    assert f" -->\n\n{expected}\n\n<!-- /families -->" in page
    rows = [line.split(" | ") for line in expected.splitlines()[2:]]
    families = [(name, row[2]) for row in rows for name in row[0].split(", ")]
    compressed = sum("`none` alone" not in served for _, served in families)
    release = ".".join(transformers.__version__.split(".")[:2])
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    counted = f"{compressed} of {len(families)} [families](docs/models.md#families)"
    assert f"{counted} in transformers {release} support compression" in readme


@pytest.mark.parametrize("family", MAKERS)
def test_what_is_found_is_what_the_table_has(family) -> None:
    """The table was written by reading stock code, and the search looks at what that code does."""
    skip_unless_it_runs(family)
    model, processor = make(family, torch.float32)
    if family == "cosmos3_edge":  # whose processor returns the types only on request
        with pytest.raises(ModelError, match="`mm_token_type_ids` is missing"):
            find_layout(model, processor, family)
        return
    layout, listed = find_layout(model, processor, family), FAMILIES[kind(family)]
    if family in OWN_MASKS:
        assert layout.only_none == "its layout can't be proven: it makes attention masks of its own"
        return
    if listed.per_frame is not None:  # one run, which no position or count divides
        assert layout.only_none.endswith("nothing in its prompt tells where a frame begins")
        return
    assert layout.token(model.config) == listed.token(model.config)
    assert layout.one_run == listed.one_run
    assert layout.counts_tokens == listed.counts_tokens
    assert layout.least_frames == listed.least_frames
    assert layout.keeps_every_token == listed.keeps_every_token


@pytest.mark.parametrize("family", UNLISTED_MAKERS)
def test_what_is_found(family) -> None:
    _, processor, layout = found(family, torch.float32)
    if family in NONE_ONLY:
        assert NONE_ONLY[family] in layout.only_none
        return
    assert layout.only_none == ""
    assert layout.temporal_patch_size == getattr(
        processor.video_processor, "temporal_patch_size", 1
    )
    assert layout.keeps_every_token == (family not in MERGING_ONLY)
    assert layout.counts_tokens == (family not in GRIDS)


@pytest.mark.parametrize("family", UNLISTED_MAKERS)
@pytest.mark.parametrize("frames", [1, 5])
def test_without_a_method_it_answers_as_stock_generate_does(family, frames) -> None:
    model, processor, _ = found(family, torch.float32)
    asked = session(family, frames, torch.float32)
    streamed: list[str] = []
    answer = asked.ask(QUESTION, Uncompressed(), max_tokens=8, on_text=streamed.append)
    shown = clip(frames)
    inputs = stock_inputs(family, model, processor, shown)
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, -8:]
    assert answer.answer == words(processor, tokens)
    assert "".join(streamed).strip() == answer.answer
    assert answer.tokens.visual + answer.tokens.text == inputs["input_ids"].shape[1]
    assert answer.tokens.visual > 0
    assert answer.frames.count == frames


@pytest.mark.parametrize("family", NONE_ONLY)
def test_a_method_is_refused_in_one_sentence(family) -> None:
    asked = session(family, 5, torch.float32)
    with pytest.raises(UsageError, match=rf"{NONE_ONLY[family]}.*--method none works"):
        asked.ask(QUESTION, method_of("dycoke", "kept"), max_tokens=2)


@pytest.mark.parametrize(
    ("family", "method"),
    [
        *product((family for family in FOUND if family not in MERGING_ONLY), METHODS),
        *((family, "ttm") for family in FOUND if family in MERGING_ONLY),
    ],
)
def test_a_method_gives_what_the_reference_gives(family, method) -> None:
    model, processor, layout = found(family)
    frames = 5
    inputs = stock_inputs(family, model, processor, clip(frames))
    visual = (inputs["input_ids"][0] == layout.token_id).nonzero().flatten().tolist()
    groups = session(family, frames).video.frames
    attached = method_of(method, "kept")
    # Stock generate() may number a shortened prompt anew; the masked reference never does.
    if family in MERGING_ONLY:
        reference = Shorter(model, inputs, groups, visual)
        kept = reference.merged(attached.merge_ratio)
        tokens, logits = reference.generate_shorter(NEW_TOKENS, kept, renumbered=False)
    else:
        masked = Masked(model, inputs, groups, visual)
        tokens, logits, _ = masked.generate_by(attached, NEW_TOKENS)
    answer = session(family, frames).ask(QUESTION, attached, max_tokens=NEW_TOKENS)
    assert answer.answer == words(processor, torch.tensor(tokens))
    if layout.needs_frame_count:
        refused = pytest.raises(UsageError, match="ask by a VideoSession, which knows")
        with refused, attached(model):
            model.generate(**inputs, max_new_tokens=NEW_TOKENS)
        return
    with attached(model):
        output = generated(model, inputs, NEW_TOKENS)
    assert_generated(output, tokens, logits)


@pytest.mark.parametrize("family", FOUND)
def test_what_was_asked_before_changes_nothing(family) -> None:
    history = [(QUESTION, "A square.")]
    methods = [Uncompressed(), method_of("ttm" if family in MERGING_ONLY else "dycoke", "kept")]
    asked = session(family, 5)
    asked.ask(QUESTION, methods[0], max_tokens=2)
    for method in methods:
        alone = session(family, 5).ask("And then?", method, history=history, max_tokens=6)
        again = asked.ask("And then?", method, history=history, max_tokens=6)
        assert again.answer == alone.answer
        assert again.tokens == alone.tokens


def test_a_layout_that_does_not_hold_is_not_used(monkeypatch) -> None:
    """A decoder that hides a token's position from the search is told apart by the masked run."""
    model, processor = make("internvl", torch.float32)
    decoder = model.get_decoder()
    forward = decoder.forward

    def by_length(*args: Any, inputs_embeds: Any = None, **kwargs: Any) -> Any:
        return forward(*args, inputs_embeds=inputs_embeds * inputs_embeds.shape[1], **kwargs)

    monkeypatch.setattr(decoder, "forward", by_length)
    layout = find_layout(model, processor, "it")
    assert layout.only_none.startswith("its layout can't be proven: without a frame's tokens")
