"""Prompt of a video whose tokens were selected before: what was dropped has no placeholder in it.

A prompt with a placeholder for each token of an hour would take gigabytes of embeddings, to drop
nearly all of them. So the token ids of the whole prompt are made, and the positions that the model
gives them, but embeddings only of the tokens that are read. Other prompts are shortened to the same
arguments of the text decoder (`prefill.shorten`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from dycoke_cli.compression.method import Method, Selection
from dycoke_cli.compression.pool import PooledTokens
from dycoke_cli.engine.encode import Encoded, at_decoder
from dycoke_cli.engine.model_inputs import EmbeddedPrompts, ModelInputs
from dycoke_cli.engine.prefill import tokens_to_read
from dycoke_cli.engine.prompt_batch import Preselection, Prompt
from dycoke_cli.engine.stage import Prefill, Videos
from dycoke_cli.engine.thread_hook import after_forward, before_forward
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families import Family, Layout
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt, extra_inputs


def short_prompt(
    model: Any,
    family: Family,
    video: VideoPrompt,
    ids: torch.Tensor,
    tokens: PooledTokens,
    tail: Encoded,
    cap: int,
    *,
    contiguous: bool = False,
) -> Prompt:
    """The prompt of a question with those visual tokens alone that are read.

    Args:
        model: a stock model.
        family: its layout.
        video: the whole video, without pixels.
        ids: `[1, S]`, int64: the whole prompt.
        tokens: that are read.
        tail: what stands behind the last frame.
        cap: see `Preselection`.
        contiguous: whether positions close the gaps; they must count tokens then.
    """
    config = model.config
    inputs = extra_inputs([video], ids, family.rope)
    positions = whole_positions(model, ids, inputs) if family.rope else None
    types = inputs.get(TYPES)
    [layout] = family.layouts(
        config,
        ids[0],
        None if positions is None else positions[:, 0],
        None if types is None else types[0],
        [video.placeholders],
        video.frames,
    )
    at, places = tokens_to_read(torch.ones_like(ids[0], dtype=torch.bool), layout, tokens.kept)
    counted = torch.arange(len(at)) if contiguous else at
    preselection = Preselection(
        layout=Layout(places, layout.frame[tokens.kept], layout.position[tokens.kept]),
        kept=tokens.kept,
        counts=tokens.counts,
        positions=counted[None] if positions is None else positions[..., at.to(positions.device)],
        visual=video.visual,
        length=ids.shape[1],
        cap=cap,
    )
    # Positions are known, and what they are made from describes the whole prompt.
    kinds = {} if family.rope or types is None else {TYPES: types[:, at]}
    placeholders = family.placeholders(config, ids, inputs)[:, at]
    return Prompt(ids[:, at], kinds, placeholders, (_with_tail(tokens, tail),), preselection)


@torch.inference_mode()
def whole_positions(model: Any, ids: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Positions `[..., 1, S]`, int64, that stock code gives a prompt, without its embeddings.

    Args:
        model: a stock model.
        ids: `[1, S]`, int64.
        inputs: what positions are made from, such as the grid of the video.
    """
    embedding, device = model.get_input_embeddings(), input_device(model)
    # One embedding is looked up, and stands for all: a view of it takes no memory.
    hooks = [
        before_forward(embedding, lambda module, args, kwargs: ((args[0][:, :1],), kwargs)),
        after_forward(embedding, lambda output: output.expand(-1, ids.shape[1], -1)),
    ]
    placed = {name: tensor.to(device) for name, tensor in {"input_ids": ids, **inputs}.items()}
    mask = torch.ones_like(placed["input_ids"])
    ask = partial(model.generate, attention_mask=mask, max_new_tokens=1, do_sample=False)
    try:
        positions: torch.Tensor = at_decoder(model, partial(ask, **placed))["position_ids"]
    finally:
        for hook in hooks:
            hook.remove()
    return positions


def _with_tail(tokens: PooledTokens, tail: Encoded) -> Encoded:
    """One embedding per placeholder of a short prompt."""
    stacked = zip(tokens.deepstack, tail.deepstack, strict=True)
    return Encoded(
        torch.cat([tokens.features, tail.embeddings]),
        tuple(torch.cat(layer) for layer in stacked),
    )


class VideoInWindows(Videos):
    """A video that was selected from before: its prompt has the kept tokens alone."""

    def __init__(self, preselection: Preselection) -> None:
        self._preselection = preselection

    def find(self, inputs: ModelInputs | None, kwargs: dict[str, Any]) -> list[list[Layout]]:
        """See `Videos.find`."""
        return [[self._preselection.layout]]

    def before_prefill(self, prefill: Prefill) -> None:
        """Give the tokens the positions that they have in the whole prompt."""
        device = prefill.prompts.embeddings.device
        prefill.kwargs["position_ids"] = self._preselection.positions.to(device)

    def select(self, method: Method, prompts: EmbeddedPrompts) -> list[Selection]:
        """See `Videos.select`: all that are left."""
        kept = torch.arange(len(self._preselection.kept))
        return [Selection(kept, counts=self._preselection.counts)]

    def after_selection(self, prefill: Prefill) -> None:
        """Report which tokens of the video are kept, and of how many."""
        prefill.kept = [self._preselection.kept]
        prefill.state.sequences[0].stats.visual = self._preselection.visual
