"""Typed answers, scored by whole forwards of the stock decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.method import LayerPruning
from dycoke_cli.engine import attach
from dycoke_cli.engine.generation_options import TypedOptions
from dycoke_cli.engine.inside import TokenPruning
from dycoke_cli.engine.prefill import DeepStack
from dycoke_cli.engine.state import Prefill
from dycoke_cli.engine.vocabulary import option_tokens
from tests.families.stock import run_masked
from tests.families.tiny import make

OPTIONS = ("a d", "a dog", "cat", "10")

TYPED = TypedOptions(OPTIONS)

# One of each kind of positions and masks whose layers keep every token.
SIX = ("llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl", "glm4v", "molmo2")

END = 5


def ids_of(processor: Any, answer: Answer) -> list[tuple[int, ...]]:
    """Token ids of the options in the spelling that was scored."""
    [ids] = [s.ids for s in option_tokens(processor, OPTIONS) if s.texts == answer.scoring.texts]
    return [*ids]


def assert_scores(answer: Answer, expected: Sequence[float]) -> None:
    """Log-probabilities are these, and the choice and its probabilities follow from them."""
    found = torch.tensor(answer.scoring.log_probabilities, dtype=torch.float64)
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    means = [total / tokens for total, tokens in zip(expected, answer.scoring.tokens, strict=True)]
    weights = [math.exp(mean) for mean in means]
    shares = [weight / sum(weights) for weight in weights]
    assert list(answer.probabilities.values()) == pytest.approx(shares, abs=1e-5)
    assert answer.choice == answer.answer == OPTIONS[shares.index(max(shares))]
    assert answer.margin == pytest.approx(max(shares) - sorted(shares)[-2], abs=1e-5)


def summed(logits: torch.Tensor, ids: Sequence[int], ends: Sequence[int] = ()) -> float:
    """Log-probability of the tokens `ids`, and of one of `ends` behind them.

    Args:
        logits: `[len(ids) + 1, V]`: of the prompt's last token, and of each token of the option.
        ids: of the option.
        ends: ids of end tokens.
    """
    shares = logits.double().log_softmax(-1)
    total = sum(float(shares[place, token]) for place, token in enumerate(ids))
    return total + (float(shares[len(ids), list(ends)].logsumexp(0)) if ends else 0.0)


@contextmanager
def ending(family: str) -> Iterator[None]:
    """Within the block a model has an end token, which tiny ones otherwise don't have."""
    config = make(family)[0].generation_config
    config.eos_token_id = END
    try:
        yield
    finally:
        config.eos_token_id = None


@torch.no_grad()
def whole_forward(model: Any, inputs: dict[str, Any], ids: Sequence[int]) -> torch.Tensor:
    """`[len(ids) + 1, V]`: logits of the prompt's last token, and of each token behind it."""
    longer = dict(inputs)
    tokens = torch.tensor([[*ids]], dtype=torch.int64)
    longer["input_ids"] = torch.cat([inputs["input_ids"], tokens], 1)
    for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            more = torch.full_like(tokens, 1 if name == "attention_mask" else 0)
            longer[name] = torch.cat([inputs[name], more], 1)
    return model(**longer, use_cache=False).logits[0, -len(ids) - 1 :]


class Shortened:
    """What a method left of the prompt, as the text decoder was about to read it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stock = attach.shorten

        def noted(prefill: Prefill) -> None:
            stock(prefill)
            self.arguments, self.state = prefill.kwargs, prefill.state
            self.embeds = self.arguments["inputs_embeds"][0].clone()
            self.sizes = prefill.selections[0].sizes if prefill.method.weighs_merged() else None
            self.cuts.clear()

        # By the first layer without the others: rows that are left, and merged ones as they are.
        self.cuts: dict[int, tuple[set[int], dict[int, torch.Tensor]]] = {}
        prune = TokenPruning._prune

        def pruned(of: Any, state: Any, pruning: LayerPruning, hidden: torch.Tensor) -> Any:
            before = dict(zip(of._tokens.tolist(), hidden[0], strict=True))
            found = prune(of, state, pruning, hidden)
            after = dict(zip(state.left.tolist(), found[0], strict=True))
            merged = {row: after[row] for row in after if not torch.equal(after[row], before[row])}
            self.cuts[pruning.layer] = {*after}, merged
            return found

        monkeypatch.setattr(attach, "shorten", noted)
        monkeypatch.setattr(TokenPruning, "_prune", pruned)

    @torch.no_grad()
    def scores(
        self, model: Any, options: Sequence[Sequence[int]], ends: Sequence[int] = ()
    ) -> list[float]:
        """The stock decoder without a cache, over the kept tokens and each option."""
        return [summed(self.logits(model, ids), ids, ends) for ids in options]

    @torch.no_grad()
    def logits(self, model: Any, ids: Sequence[int]) -> torch.Tensor:
        """`[len(ids) + 1, V]`: of the prompt's last token, and of each token of an option."""
        prompt = len(self.embeds)
        own = torch.tensor(ids, dtype=torch.int64)
        seen = torch.cat([self.embeds, model.get_input_embeddings()(own)])
        positions = self.arguments["position_ids"]
        more = positions[..., -1:] + torch.arange(1, len(ids) + 1)
        positions = torch.cat([positions, more], -1)
        mask = torch.full((len(seen), len(seen)), -math.inf, dtype=torch.float64).triu(1)
        given = self.arguments["attention_mask"]
        if torch.is_tensor(given) and given.dim() == 4:  # frames see each other
            own = given[0, 0]
            allowed = own if own.dtype == torch.bool else own == 0
            mask[:prompt, :prompt].masked_fill_(allowed, 0.0)
        [sequence] = self.state.sequences
        if self.sizes is not None:
            mask[:, sequence.visual] += self.sizes.double().log()
        parts = {type(part): part for part in self.state.layer_inputs}
        masks, states = [], {}
        for number in range(len(model.get_decoder().layers)):
            left, states[number] = self.cuts.get(number, ({*range(prompt)}, {}))
            dropped = [row for row in range(prompt) if row not in left]
            mask[:, dropped] = -math.inf
            mask[dropped, dropped] = 0.0  # a number for each, which nothing attends to
            masks.append(mask.clone())
        stacked: dict[str, Any] = {}
        deepstack: Any = parts.get(DeepStack)
        if deepstack is not None:
            places = torch.nn.functional.pad(deepstack._places, (0, len(ids)))
            stacked = {
                "visual_pos_masks": places,
                "deepstack_visual_embeds": deepstack._stacked,
            }
        hidden = run_masked(model, seen, positions, masks, states, **stacked).last_hidden_state
        return model.lm_head(hidden[:, prompt - 1 :])[0]
