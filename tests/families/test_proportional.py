"""Proportional attention in each family: the stock model with it in its mask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from dycoke_cli import ToMe
from dycoke_cli.compression.method import Selection, SelectionInputs
from tests.exactness import assert_generated, assert_same_steps, generated
from tests.families.sessions import (
    CHUNK,
    FAMILIES,
    Read,
    positions_of,
    prompt_about,
    read_in_chunks,
)
from tests.families.stock import (
    MERGING_ONLY,
    NONE_ONLY,
    Masked,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.tiny import MAKERS, make

NEW_TOKENS = 3
SERVED = [name for name in MAKERS if name not in (*MERGING_ONLY, *NONE_ONLY)]


@dataclass(frozen=True)
class Weighted(ToMe):
    """Every token is kept, and counts as several."""

    def weighs_merged(self) -> bool:
        return True

    def finish(self, inputs: SelectionInputs, selection: Selection) -> Selection:
        return replace(selection, counts=sizes(len(selection.kept)))


def sizes(visual: int) -> torch.Tensor:
    return 1 + torch.arange(visual) % 20


def answer(model: Any, inputs: dict[str, torch.Tensor], method: Weighted) -> Any:
    with method(model):
        return generated(model, inputs, NEW_TOKENS)


@pytest.mark.parametrize("family", one_of_each_kind(SERVED, ("llava_onevision", "qwen3_vl")))
def test_it_is_the_stock_model_with_it_in_its_mask(family: str) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    shown = prompt_about(model, processor, clip(5)).frames
    for positions in positions_of(family):
        method = Weighted(retain=1.0, positions=positions)
        reference = Masked(model, inputs, shown)
        reference.weights = sizes(len(reference.visual)).double().log()
        tokens, logits, _ = reference.generate(
            NEW_TOKENS, merge_ratio=None, prune_ratio=0.0, renumbered=positions == "renumbered"
        )
        output = answer(model, inputs, method)
        assert_generated(output, tokens, logits)


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES, ("llava_onevision", "qwen3_vl")))
def test_a_prompt_in_chunks_is_as_one_in_one_pass(family, monkeypatch) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(9))
    method = Weighted(retain=1.0, positions="kept")
    expected = answer(model, inputs, method)
    read_in_chunks(monkeypatch)
    with Read(model) as read:
        output = answer(model, inputs, method)
    assert read.longest == CHUNK
    assert_same_steps(output.logits, expected.logits)
