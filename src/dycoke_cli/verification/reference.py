"""Greedy runs with logits: stock `generate()`, with a method attached, and the masked reference.

The masked run is the reference of pruned answers: a stock cache keeps every token, and evicted
tokens are masked. It is forced to the selections and generated tokens of a pruned run, so that
stock `generate()` computes the logits that should follow from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from transformers import LogitsProcessor

from dycoke_cli.compression.method import Method
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.model_inputs import take
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.vision import Prompt, at_decoder, inject_videos
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.families.layout import (
    DEEPSTACK,
    PER_TOKEN,
    VISUAL_MASK,
    is_pixels,
    normalised,
)
from dycoke_cli.models.prompts.stock_prompt import StockPrompt, extra_inputs
from dycoke_cli.stock.forward import EAGER, SDPA, Arguments, before_forward
from dycoke_cli.stock.private_api import attention_implementation


@dataclass(frozen=True)
class Run:
    """Generated tokens of one greedy run, with their logits."""

    tokens: torch.Tensor  # `[T]`, int64
    logits: torch.Tensor  # `[T, vocabulary]`, float32, on the CPU
    # `[M]`, int64: visual tokens kept before the language model; None without a method
    kept: torch.Tensor | None = None
    # per decoding step `[A]`, int64: the kept tokens that it attended to; empty without KV pruning
    active: tuple[torch.Tensor, ...] = ()


def stock_inputs(session: VideoSession, question: str) -> dict[str, torch.Tensor]:
    """Inputs of a stock `generate()` call: token ids, pixels, and extra inputs of the family."""
    loaded, video = session.loaded, session.video
    if isinstance(video, StockPrompt):
        return video.stock_inputs(question)
    key = loaded.family.pixels.key
    pixels = normalised(video.inputs[key], loaded.processor.video_processor, loaded.family.pixels)
    ids = video.input_ids(question)
    inputs = {"input_ids": ids, **video.inputs, **extra_inputs([video], ids, loaded.family.rope)}
    return inputs | {key: pixels}


def attached_run(session: VideoSession, prompt: Prompt, method: Method, new_tokens: int) -> Run:
    """Run with a method attached, on the session's video, which was encoded in chunks."""
    model = session.loaded.model
    inputs = {"input_ids": prompt.input_ids, **prompt.extra_inputs}
    with _with_videos(model, prompt):
        if method.name == "none":
            return generate(model, inputs, new_tokens)
        trace = None if method.pruning() is None else 0
        with attach(model, method, trace=trace, frames=session.video.frames) as attachment:
            run = generate(model, inputs, new_tokens)
    recorder = attachment.recorder
    active = () if recorder is None else recorder.active
    return replace(run, kept=attachment.kept[0], active=active)


@torch.inference_mode()
def generate(
    model: Any, inputs: dict[str, torch.Tensor], new_tokens: int, processors: Any = None
) -> Run:
    """One greedy `generate()` call.

    Args:
        model: a stock model.
        inputs: inputs of one prompt, without an attention mask; pixels of any dtype.
        new_tokens: maximum number of tokens.
        processors: logits processors, or None.
    """
    output = model.generate(
        **{
            name: tensor.to(model.device, model.dtype if is_pixels(tensor) else tensor.dtype)
            for name, tensor in inputs.items()
        },
        attention_mask=torch.ones_like(inputs["input_ids"]).to(model.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        logits_processor=processors,
        return_dict_in_generate=True,
        output_logits=True,
    )
    tokens = output.sequences[0, inputs["input_ids"].shape[1] :].cpu()
    return Run(tokens, torch.stack([step[0].float().cpu() for step in output.logits]))


class _Forced(LogitsProcessor):
    """Logits processor that forces the generated tokens."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self._left = tokens.tolist()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # The recorded logits are those before this processor, so they stay the model's.
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self._left.pop(0)] = 0
        return forced


@torch.inference_mode()
def masked_run(session: VideoSession, prompt: Prompt, run: Run, method: Method) -> Run:
    """Compute reference logits for the tokens and selections of a pruned run."""
    assert run.kept is not None
    pruning = method.pruning()
    layer = 1 if pruning is None else pruning.layer  # without pruning nothing is masked
    model = session.loaded.model
    full = _decoder_inputs(model, prompt)
    visual = prompt.placeholders[0].nonzero().flatten()[: session.video.visual]
    is_kept = torch.ones(prompt.input_ids.shape[1], dtype=torch.bool)
    is_kept[visual] = False
    is_kept[visual[run.kept]] = True
    indices = is_kept.nonzero().flatten()
    visual_slots = torch.isin(indices, visual).nonzero().flatten()

    # Kept tokens have their original positions, or contiguous ones if the method renumbers.
    positions = full["position_ids"][..., indices.to(model.device)]
    next_position = full["position_ids"][..., -1:] + 1
    if method.renumbers():
        positions = torch.arange(len(indices), device=model.device)[None]
        next_position = positions[..., -1:] + 1
    inputs = {"input_ids": prompt.input_ids[:, indices], "position_ids": positions}
    if TYPES in prompt.extra_inputs:
        inputs[TYPES] = prompt.extra_inputs[TYPES][:, indices]
    masked = _with_evicted_masked(model, layer, len(indices), visual_slots, run.active)
    shortened = _with_tokens(model, full | {"position_ids": positions}, indices, next_position)
    with _taking_masks(model), masked, shortened:
        return generate(model, inputs, len(run.tokens), [_Forced(run.tokens)])


def _decoder_inputs(model: Any, prompt: Prompt) -> dict[str, Any]:
    """The decoder's inputs for the whole prompt: embeddings, positions, DeepStack."""
    inputs = {"input_ids": prompt.input_ids, **prompt.extra_inputs}
    with _with_videos(model, prompt):
        kwargs = at_decoder(model, partial(generate, model, inputs, 1))
    if kwargs.get("position_ids") is None:
        kwargs["position_ids"] = torch.arange(prompt.input_ids.shape[1], device=model.device)[None]
    return kwargs


def _with_videos(model: Any, prompt: Prompt) -> AbstractContextManager[None]:
    """Inject a prompt's encoded video within the block, if it has one."""
    if not prompt.videos:
        return nullcontext()
    return inject_videos(model, [prompt.videos], prompt.placeholders)


@contextmanager
def _with_tokens(
    model: Any,
    full: dict[str, Any],
    indices: torch.Tensor,
    next_position: torch.Tensor,
) -> Iterator[None]:
    """Restrict the first prefill within the block to some tokens of the full prompt.

    Generated tokens get the positions from `next_position` on, because some stock classes would
    number them by the length of the shorter prompt.
    """
    step = [-1]  # the prompt comes first
    at = indices.to(model.device)[None]

    def write(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        step[0] += 1
        if step[0]:
            return args, kwargs | {"position_ids": next_position + step[0] - 1}
        kwargs = kwargs | {"position_ids": full["position_ids"]}
        names = (name for name in PER_TOKEN if full.get(name) is not None)
        kwargs = kwargs | {name: take(full[name], at) for name in names}
        if full.get(DEEPSTACK) is None:
            return args, kwargs
        visual_mask = full[VISUAL_MASK]
        number = (visual_mask.flatten().cumsum(0) - 1)[at[0]]
        kept = visual_mask[:, at[0]]
        stacked = [values[number[kept[0]].to(values.device)] for values in full[DEEPSTACK]]
        return args, kwargs | {VISUAL_MASK: kept, DEEPSTACK: stacked}

    hook = before_forward(model.get_decoder(), write)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _with_evicted_masked(
    model: Any,
    layer: int,
    prompt: int,
    visual_slots: torch.Tensor,
    active: tuple[torch.Tensor, ...],
) -> Iterator[None]:
    """Mask evicted tokens in decoding steps within the block, from `layer` on."""
    decoder = model.get_decoder()
    step = [-1]  # the prompt comes first

    def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        step[0] += 1

    def mask(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if not step[0] or not active:
            return None
        # Tokens generated so far are always visible.
        visible = torch.ones(prompt + step[0], dtype=torch.bool)
        visible[visual_slots] = False
        visible[visual_slots[active[step[0] - 1].cpu()]] = True
        mask = torch.zeros(visible.shape, dtype=args[0].dtype)  # which eager attention takes, too
        mask[~visible] = torch.finfo(mask.dtype).min
        return args, kwargs | {"attention_mask": mask[None, None, None].to(args[0].device)}

    hooks = [before_forward(decoder, count)]
    hooks += [before_forward(module, mask) for module in decoder.layers[layer:]]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _taking_masks(model: Any) -> Iterator[None]:
    """Use SDPA within the block, or eager attention: both accept a different mask per layer."""
    decoder = model.get_decoder()
    before = attention_implementation(decoder)
    decoder.set_attn_implementation(EAGER if before == EAGER else SDPA)  # equivalent: both do
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)
