"""What a method adds to attention logits, in each family: the stock model with it in its mask."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import pytest
import torch

from dycoke_cli import DyCokePlus
from dycoke_cli.compression.selection import Selection
from dycoke_cli.engine import chunks
from dycoke_cli.models.families import family_of
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from tests.covering import covered
from tests.exactness import assert_same
from tests.families.stock import clip, stock_inputs
from tests.families.test_chunked_prefill import CHUNK, FAMILIES, Read
from tests.families.test_matrix import positions_of
from tests.families.test_own import KINDS, NEW_TOKENS, SERVED, Own, answer
from tests.families.tiny import make


@dataclass(frozen=True)
class Weighted(DyCokePlus):
    """Every token is kept, and the later ones are attended to more."""

    ablations: ClassVar[dict[str, Any]] = {}

    def adds_bias(self) -> bool:
        return True

    def attention_bias(self, selection: Selection) -> torch.Tensor:
        return torch.linspace(0, 3, len(selection.kept), dtype=torch.float64)


VARIANTS = {
    "all": {"kv_prune": False, "prune_ratio": 0.0},
    "own": {"prune_from": 0, "prune_ratio": 0.6},
    "per head on the host": {
        "prune_from": 0, "prune_ratio": 0.6, "per_head": True, "dp_cache": "host",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "name"),
    covered(
        [
            *((family, "all") for family in SERVED),
            *((family, name) for family in KINDS for name in VARIANTS if name != "all"),
        ],
        together=1,
        first=KINDS,
    ),
)
def test_it_is_the_stock_model_with_it_in_its_mask(family: str, name: str) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    shown = make_prompt(processor, family_of(model.config), model.config, clip(5)).frames
    for positions in positions_of(family):
        method = Weighted(retain=1.0, positions=positions, **VARIANTS[name])
        stock = Own(model, inputs, shown)
        stock.bias = tuple(torch.linspace(0, 3, len(stock.visual), dtype=torch.float64).tolist())
        tokens, logits = stock.generate(method, positions == "renumbered")
        output, _ = answer(model, inputs, method)
        assert output.sequences[0, -NEW_TOKENS:].tolist() == tokens
        for ours, theirs in zip(output.logits, logits, strict=True):
            assert_same(ours[0], theirs)


@pytest.mark.parametrize(("family", "name"), covered(product(FAMILIES, VARIANTS), together=1))
def test_a_prompt_in_chunks_is_as_one_in_one_pass(family, name, monkeypatch) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(9))
    method = Weighted(retain=1.0, positions="kept", **VARIANTS[name])
    expected, _ = answer(model, inputs, method)
    monkeypatch.setattr(chunks, "LONGEST_WHOLE", CHUNK + 1)
    monkeypatch.setattr(chunks, "CHUNK", CHUNK)
    with Read(model) as read:
        output, _ = answer(model, inputs, method)
    assert read.longest == CHUNK
    for ours, theirs in zip(output.logits, expected.logits, strict=True):
        assert_same(ours, theirs)
