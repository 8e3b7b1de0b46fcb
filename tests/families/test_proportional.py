"""Proportional attention in each family: the stock model with it in its mask."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from dycoke_cli import ToMe
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.engine import chunks
from dycoke_cli.models.families import family_of
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from tests.covering import covered
from tests.exactness import assert_generated, assert_same, generated
from tests.families import stock
from tests.families.stock import BOTH_WAYS, MERGING_ONLY, NONE_ONLY, Shorter, clip, stock_inputs
from tests.families.test_chunked_prefill import CHUNK, FAMILIES, Read
from tests.families.test_matrix import positions_of
from tests.families.tiny import MAKERS, make

NEW_TOKENS = 5
SERVED = [name for name in MAKERS if name not in (*MERGING_ONLY, *NONE_ONLY)]
KINDS = [name for name in SERVED if name in stock.KINDS]


@dataclass(frozen=True)
class Weighted(ToMe):
    """Every token is kept, and counts as several."""

    def weighs_merged(self) -> bool:
        return True

    def finish(self, inputs: SelectionInputs, selection: Selection) -> Selection:
        return replace(selection, counts=sizes(len(selection.kept)))


def sizes(visual: int) -> torch.Tensor:
    return 1 + torch.arange(visual) % 20


class Masked(Shorter):
    """The stock decoder over the whole sequence for every new token, with the weights in a mask."""

    @torch.no_grad()
    def generate(self, renumbered: bool) -> tuple[list[int], list[Any]]:
        """Tokens and their logits."""
        seen, places, upcoming = self.embeds, self.positions, self.positions[..., -1:] + 1
        size = len(seen)
        if renumbered:
            places, upcoming = torch.arange(size)[None], torch.tensor([[size]])
        typed = torch.zeros(size, dtype=torch.bool)
        if self.model.config.model_type in BOTH_WAYS:
            typed = self.inputs["mm_token_type_ids"][0] > 0
        tokens: list[int] = []
        logits = []
        for step in range(NEW_TOKENS):
            hidden = self._forward(seen, places, typed)
            logits.append(self.model.lm_head(hidden[0, -1]))
            tokens.append(int(logits[-1].argmax()))
            new = self.model.get_input_embeddings()(torch.tensor([tokens[-1]]))
            seen = torch.cat([seen, new])
            places = torch.cat([places, upcoming + step], dim=-1)
        return tokens, logits

    def _forward(self, seen: torch.Tensor, places: torch.Tensor, typed: torch.Tensor) -> Any:
        size = len(seen)
        mask = torch.full((size, size), -math.inf, dtype=torch.float64).triu(1)
        typed = torch.nn.functional.pad(typed, (0, size - len(typed)))
        mask[typed[:, None] & typed[None]] = 0
        mask[:, self.visual] += sizes(len(self.visual)).double().log()

        def give(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            return args, kwargs | {"attention_mask": mask[None, None]}

        hooks = [
            layer.register_forward_pre_hook(give, with_kwargs=True) for layer in self.decoder.layers
        ]
        more: dict[str, Any] = {}
        if self.deepstack:
            shown = torch.zeros(1, size, dtype=torch.bool)
            shown[0, self.visual] = True
            more = {"visual_pos_masks": shown, "deepstack_visual_embeds": self.deepstack}
        try:
            return self.decoder(
                inputs_embeds=seen[None], position_ids=places, use_cache=False, **more
            ).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()


def answer(model: Any, inputs: dict[str, torch.Tensor], method: Weighted) -> Any:
    with method(model):
        return generated(model, inputs, NEW_TOKENS)


@pytest.mark.parametrize("family", covered(((f,) for f in SERVED), together=1, first=KINDS))
def test_it_is_the_stock_model_with_it_in_its_mask(family: str) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    shown = make_prompt(processor, family_of(model.config), model.config, clip(5)).frames
    for positions in positions_of(family):
        method = Weighted(retain=1.0, positions=positions)
        tokens, logits = Masked(model, inputs, shown).generate(positions == "renumbered")
        output = answer(model, inputs, method)
        assert_generated(output, tokens, logits)


@pytest.mark.parametrize("family", covered(((f,) for f in FAMILIES), together=1))
def test_a_prompt_in_chunks_is_as_one_in_one_pass(family, monkeypatch) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(9))
    method = Weighted(retain=1.0, positions="kept")
    expected = answer(model, inputs, method)
    monkeypatch.setattr(chunks, "LONGEST_WHOLE", CHUNK + 1)
    monkeypatch.setattr(chunks, "CHUNK", CHUNK)
    with Read(model) as read:
        output = answer(model, inputs, method)
    assert read.longest == CHUNK
    for ours, theirs in zip(output.logits, expected.logits, strict=True):
        assert_same(ours, theirs)
