"""The scheme of the published code, on stock transformers, to be timed next to ours.

As there, attention weights are computed in every layer, the whole cache is kept, and each layer
from the prune layer on gathers at each step what it attends to. What is chosen is what `DyCoke`
chooses in its published variant, so the answers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.masking_utils import eager_mask

from dycoke_cli import DyCoke
from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.engine.generate import BatchStreamer
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.vision import Prompt
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.stock.private_api import CACHE_ARGUMENT

NAME = "published_scheme"
METHOD = DyCoke(variant="published")


@dataclass
class _Choice:
    """What the layers of one answer share."""

    selector: VisualSelector  # chooses at each step
    layer: int  # the first that attends to the choice alone
    visual: torch.Tensor  # `[V]`, int64: rows of the cache with visual tokens
    # `[A]`, int64: rows of the cache that are gathered in this step
    active: torch.Tensor = field(default_factory=lambda: torch.arange(0))

    def renew(self, weights: torch.Tensor) -> None:
        """Choose by the attention `[H, S]` of a step."""
        seen = torch.ones(weights.shape[1], dtype=torch.bool)
        seen[self.visual] = False
        chosen = self.selector.step(weights.float().mean(0)[self.visual])
        seen[self.visual[chosen]] = True
        self.active = seen.nonzero().flatten()


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    choice: _Choice | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eager attention `[B, N, H, D]` with its weights, over what is chosen for a decoding step."""
    step = choice is not None and query.shape[2] == 1
    if step and module.layer_idx >= choice.layer:
        key, value = key.index_select(2, choice.active), value.index_select(2, choice.active)
        attention_mask = None
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = query @ key.mT * scaling
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[2]]
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
    if step and module.layer_idx == choice.layer - 1:
        choice.renew(weights[0, :, 0])
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, eager_mask)


@torch.inference_mode()
def answer(
    model: Any, prompt: Prompt, frames: int, new_tokens: int, streamer: BatchStreamer
) -> tuple[list[int], DynamicCache]:
    """Write an answer; return its tokens and the cache.

    Args:
        model: with 1-D positions, running the attention `NAME`.
    """
    decoder, words = model.get_decoder(), model.get_input_embeddings()
    rows = words(prompt.input_ids)[0]
    at = prompt.placeholders[0].nonzero().flatten()
    rows[at] = prompt.videos[0].embeddings.to(rows)
    # What is left over behind the frames, a newline, is text.
    at = at[: len(at) // frames * frames]
    features = rows[at].unflatten(0, (frames, -1))
    kept = METHOD.choose(SelectionInputs(features)).kept
    begin, end = int(at[0]), int(at[-1]) + 1
    rows = torch.cat([rows[:begin], rows[at[kept]], rows[end:]])
    pruning = settled(METHOD, ModelInfo.of(model.config)).pruning()
    assert pruning is not None
    choice = _Choice(pruning.selector, pruning.layer, torch.arange(begin, begin + len(kept)))
    cache = DynamicCache(config=decoder.config)
    streamer.put(prompt.input_ids)
    embeds, tokens, position = rows[None], [], 0
    for _ in range(new_tokens):
        positions = torch.arange(position, position + embeds.shape[1])[None]
        found = decoder(
            inputs_embeds=embeds, position_ids=positions, choice=choice, **{CACHE_ARGUMENT: cache}
        )
        token = model.get_output_embeddings()(found.last_hidden_state[:, -1]).argmax(-1)
        streamer.put(token)
        tokens.append(int(token))
        embeds, position = words(token)[:, None], position + embeds.shape[1]
    streamer.end()
    return tokens, cache
