"""Each layer selects for itself: tokens and logits of a stock model masked to what loops select."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dycoke_cli import DyCokePlus
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.models.prompt import make_prompt
from tests.engine.own_reference import Choices, own_attention
from tests.exactness import assert_same

from .stock import BOTH_WAYS, MERGING_ONLY, NONE_ONLY, Shorter, clip, stock_inputs
from .test_matrix import plain, positions_of
from .tiny import MAKERS, make

NEW_TOKENS = 5
SERVED = [name for name in MAKERS if name not in (*MERGING_ONLY, *NONE_ONLY)]


class Own(Shorter):
    """The stock decoder over the whole sequence for every new token, masked layer by layer."""

    @torch.no_grad()
    def generate(self, method: DyCokePlus, renumbered: bool) -> tuple[list[int], list[Any]]:
        """Tokens and their logits."""
        seen, places, upcoming = self.embeds, self.positions, self.positions[..., -1:] + 1
        size = len(seen)
        if renumbered:
            places, upcoming = torch.arange(size)[None], torch.tensor([[size]])
        typed = torch.zeros(size, dtype=torch.bool)
        if self.model.config.model_type in BOTH_WAYS:
            typed = self.inputs["mm_token_type_ids"][0] > 0
        count = int(len(self.visual) * (1 - method.prune_ratio))
        choices = Choices(self.visual, size, count, method.prune_layer, method.per_head)
        tokens: list[int] = []
        logits = []
        for step in range(NEW_TOKENS):
            with own_attention(self.model, choices):
                hidden = self._forward(seen, places, typed)
            logits.append(self.model.lm_head(hidden[0, -1]))
            tokens.append(int(logits[-1].argmax()))
            new = self.model.get_input_embeddings()(torch.tensor([tokens[-1]]))
            seen = torch.cat([seen, new])
            places = torch.cat([places, upcoming + step], dim=-1)
        return tokens, logits

    def _forward(self, seen: torch.Tensor, places: torch.Tensor, typed: torch.Tensor) -> Any:
        size = len(seen)
        mask = torch.full((size, size), -math.inf).triu(1)
        typed = torch.nn.functional.pad(typed, (0, size - len(typed)))
        mask[typed[:, None] & typed[None]] = 0

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


METHODS = {
    "own": {},
    "from the third layer": {"prune_layer": 2},
    "a tenth": {"prune_ratio": 0.9},
    "per head": {"per_head": True},
    "on the host": {"dp_cache": "host"},
    "per head on the host": {"dp_cache": "host", "per_head": True},
}


def answer(model: Any, inputs: Any, method: DyCokePlus) -> Any:
    with method(model) as attachment:
        output = model.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return output, attachment.stats


@pytest.mark.parametrize("family", SERVED)
@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("name", METHODS)
def test_it_is_the_stock_model_masked_to_what_loops_select(family, frames, name) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(frames))
    shown = make_prompt(processor, family_of(model.config), model.config, clip(frames)).frames
    for positions in positions_of(family):
        method = DyCokePlus(**{"prune_ratio": 0.6, "positions": positions} | METHODS[name])
        tokens, logits = Own(model, inputs, shown).generate(method, positions == "renumbered")
        output, [stats] = answer(model, inputs, method)
        assert output.sequences[0, -NEW_TOKENS:].tolist() == tokens
        for ours, theirs in zip(output.logits, logits, strict=True):
            assert_same(ours[0], theirs)
        kept = stats.visual_kept
        assert stats.active == [int(kept * (1 - method.prune_ratio))] * (NEW_TOKENS - 1)
        assert stats.choices_renewed == NEW_TOKENS - 2
        assert (stats.tokens_evicted, stats.tokens_recalled) == (0, 0)


@pytest.mark.parametrize("family", SERVED)
@pytest.mark.parametrize("changes", [{}, {"per_head": True}, {"dp_cache": "host"}])
def test_with_nothing_pruned_tokens_are_those_of_plain_generate(family, changes) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(4))
    expected = plain(model, inputs, 12)
    for positions in positions_of(family):
        with DyCokePlus(prune_ratio=0.0, positions=positions, **changes)(model):
            assert plain(model, inputs, 12) == expected


@pytest.mark.parametrize("family", [*MERGING_ONLY, *NONE_ONLY])
def test_layers_that_do_not_keep_every_token_are_refused(family) -> None:
    model, _ = make(family)
    refused = pytest.raises(UsageError, match=r"--(no-kv-prune|method none) works")
    with refused, DyCokePlus()(model):
        pass
