"""Prompt of a video whose tokens were selected before: what was dropped has no placeholder in it.

A prompt with a placeholder for each token of an hour would take gigabytes of embeddings, to drop
nearly all of them. So the token ids of the whole prompt are made, and the positions that the model
gives them, but embeddings only of the tokens that are read. `attach` shortens other prompts to the
same arguments of the text decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch

from dycoke_cli.compression.pool import PooledTokens
from dycoke_cli.engine.encode import Encoded, at_decoder
from dycoke_cli.engine.prefill import tokens_to_read
from dycoke_cli.engine.prompt_batch import Prompt, Shortened
from dycoke_cli.engine.thread_hook import after_forward, before_forward
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families import Family, Layout
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.prompts.video_prompt import VideoPrompt, extra_inputs


@dataclass(frozen=True)
class WholePrompt:
    """The S tokens of a prompt about a whole video, of which parts are read.

    Args:
        ids: `[1, S]`, int64.
        layout: where its visual tokens are.
        positions: `[..., 1, S]`, int64; None of a family that counts tokens.
        placeholders: `[1, S]`, bool.
        types: `[1, S]`: which tokens are visual, where the model is told; or None.
    """

    ids: torch.Tensor
    layout: Layout
    positions: torch.Tensor | None
    placeholders: torch.Tensor
    types: torch.Tensor | None

    @classmethod
    def of(cls, model: Any, family: Family, video: VideoPrompt, ids: torch.Tensor) -> Self:
        """That of a question.

        Args:
            model: a stock model.
            family: its layout.
            video: the whole video, without pixels.
            ids: `[1, S]`, int64: the whole prompt.
        """
        inputs = extra_inputs([video], ids, family.rope)
        positions = whole_positions(model, ids, inputs) if family.rope else None
        types = inputs.get(TYPES)
        [layout] = family.layouts(
            model.config,
            ids[0],
            None if positions is None else positions[:, 0],
            None if types is None else types[0],
            [video.placeholders],
            video.frames,
        )
        placeholders = family.placeholders(model.config, ids, inputs)
        # Positions are known, and what they are made from describes the whole prompt.
        return cls(ids, layout, positions, placeholders, None if family.rope else types)

    def part(self, at: torch.Tensor, video: Encoded, shortened: Shortened | None = None) -> Prompt:
        """The prompt of some of the tokens.

        Args:
            at: `[R]`, int64: which, in reading order.
            video: an embedding for each placeholder among them.
            shortened: what it doesn't tell of the whole.
        """
        kinds = {} if self.types is None else {TYPES: self.types[:, at]}
        return Prompt(self.ids[:, at], kinds, self.placeholders[:, at], (video,), shortened)


def short_prompt(
    whole: WholePrompt,
    visual: int,
    tokens: PooledTokens,
    tail: Encoded,
    cap: int,
    *,
    contiguous: bool = False,
    evicted: int = 0,
) -> Prompt:
    """The prompt of a question with those visual tokens alone that are read.

    Args:
        whole: the prompt with all of them.
        visual: V, tokens of the video.
        tokens: that are read.
        tail: what stands behind the last frame.
        cap: see `Shortened`.
        contiguous: whether positions close the gaps; they must count tokens then.
        evicted: see `Shortened`.
    """
    layout, positions, kept = whole.layout, whole.positions, tokens.kept
    at, places = tokens_to_read(torch.ones_like(whole.ids[0], dtype=torch.bool), layout, kept)
    # The question is behind all that was read, also what is no longer there.
    counted = torch.arange(len(at)) + evicted if contiguous else at
    shortened = Shortened(
        layout=Layout(places, layout.frame[kept], layout.position[kept]),
        kept=kept,
        counts=tokens.counts,
        positions=counted[None] if positions is None else positions[..., at.to(positions.device)],
        visual=visual,
        length=whole.ids.shape[1],
        cap=cap,
        evicted=evicted,
    )
    return whole.part(at, _with_tail(tokens, tail), shortened)


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
