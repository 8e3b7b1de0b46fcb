"""A reference for pruned answers: a stock cache that keeps everything, and what waits is masked.

It takes the choices that were made and the tokens that were written as given, and lets stock
`generate()` compute anew what they lead to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import LogitsProcessor

from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.engine.deepstack import DEEPSTACK, VISUAL_MASK
from dycoke_cli.engine.model_inputs import take
from dycoke_cli.engine.prompts import Prompt, inject_videos
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.thread_hook import Arguments, before_forward
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.private_api import attention_implementation
from dycoke_cli.verification.running import Run, generated


class _Forced(LogitsProcessor):
    """Writes given tokens, whatever their logits are."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self._left = tokens.tolist()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self._left.pop(0)] = 0
        return forced


@torch.inference_mode()
def masked_run(session: VideoSession, prompt: Prompt, run: Run, method: DyCoke) -> Run:
    """The same tokens with the logits that the choices of a run lead to.

    Args:
        session: the video.
        prompt: that was answered.
        run: the answer, with its choices.
        method: that was attached, suited to the model.
    """
    assert run.kept is not None
    assert method.prune_layer is not None
    model = session.loaded.model
    read = _as_read(model, prompt)
    visual = prompt.placeholders[0].nonzero().flatten()[: session.video.visual]
    stays = torch.ones(prompt.input_ids.shape[1], dtype=torch.bool)
    stays[visual] = False
    stays[visual[run.kept]] = True
    rows = stays.nonzero().flatten()
    columns = torch.isin(rows, visual).nonzero().flatten()

    positions = read["position_ids"][..., rows.to(model.device)]
    if method.renumbers():
        positions = torch.arange(len(rows), device=model.device)[None]
    short = {"input_ids": prompt.input_ids[:, rows], "position_ids": positions}
    if TYPES in prompt.extra_inputs:
        short[TYPES] = prompt.extra_inputs[TYPES][:, rows]
    masked = _waiting_masked(model, method.prune_layer, len(rows), columns, run.active)
    with _sdpa(model), masked, _written(model, read, rows):
        return generated(model, short, len(run.tokens), [_Forced(run.tokens)])


def _as_read(model: Any, prompt: Prompt) -> dict[str, Any]:
    """What the decoder is given of the whole prompt: embeddings, positions, DeepStack."""
    seen: list[dict[str, Any]] = []

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not seen:
            seen.append(dict(kwargs))

    with inject_videos(model, [prompt.video], prompt.placeholders):
        hook = before_forward(model.get_decoder(), note)
        try:
            generated(model, {"input_ids": prompt.input_ids, **prompt.extra_inputs}, 1)
        finally:
            hook.remove()
    positions = seen[0].get("position_ids")
    if positions is None:
        seen[0]["position_ids"] = torch.arange(prompt.input_ids.shape[1], device=model.device)[None]
    return seen[0]


@contextmanager
def _written(model: Any, read: dict[str, Any], rows: torch.Tensor) -> Iterator[None]:
    """Within the block, the first prompt that is read has these rows of the whole one."""
    first = [True]
    at = rows.to(model.device)[None]

    def write(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if not first:
            return None
        first.clear()
        kwargs = kwargs | {"inputs_embeds": take(read["inputs_embeds"], at)}
        if read.get(DEEPSTACK) is None:
            return args, kwargs
        shown = read[VISUAL_MASK]
        number = (shown.flatten().cumsum(0) - 1)[at[0]]
        kept = shown[:, at[0]]
        stacked = [values[number[kept[0]].to(values.device)] for values in read[DEEPSTACK]]
        return args, kwargs | {VISUAL_MASK: kept, DEEPSTACK: stacked}

    hook = before_forward(model.get_decoder(), write)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _waiting_masked(
    model: Any, layer: int, prompt: int, columns: torch.Tensor, active: tuple[torch.Tensor, ...]
) -> Iterator[None]:
    """Within the block, decoding steps attend to active tokens only, from `layer` on."""
    decoder = model.get_decoder()
    step = [-1]  # the prompt comes first

    def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        step[0] += 1

    def mask(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if not step[0] or not active:
            return None
        seen = torch.ones(prompt + step[0], dtype=torch.bool)
        seen[columns] = False
        seen[columns[active[step[0] - 1].cpu()]] = True
        return args, kwargs | {"attention_mask": seen[None, None, None].to(args[0].device)}

    hooks = [before_forward(decoder, count)]
    hooks += [before_forward(module, mask) for module in decoder.layers[layer:]]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _sdpa(model: Any) -> Iterator[None]:
    """Within the block, attention takes a mask of its own at each layer."""
    decoder = model.get_decoder()
    before = attention_implementation(decoder)
    decoder.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)
