"""Greedy runs with logits: stock `generate()`, with a method attached, and the masked reference.

The masked run is the reference of pruned answers: a stock cache keeps every token, and evicted
tokens are masked. It is forced to the selections and generated tokens of a pruned run, so that
stock `generate()` computes the logits that should follow from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from transformers import LogitsProcessor

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.encode import Encoded, at_decoder
from dycoke_cli.engine.model_inputs import take
from dycoke_cli.engine.prompt_batch import Prompt, inject_videos
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.thread_hook import Arguments, before_forward
from dycoke_cli.models.families.arguments import DEEPSTACK, PER_TOKEN, VISUAL_MASK
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.families.pixels import is_pixels, normalised
from dycoke_cli.models.prompts.stock_prompt import StockPrompt
from dycoke_cli.stock.private_api import attention_implementation


@dataclass(frozen=True)
class Run:
    """What a model generated.

    Args:
        tokens: `[T]`, int64.
        logits: `[T, vocabulary]`, float32, on the CPU.
        kept: `[M]`, int64: the visual tokens kept before the language model; None without a method.
        active: for each decoding step `[A]`, int64: which of those it attended to; empty without
            decode pruning.
    """

    tokens: torch.Tensor
    logits: torch.Tensor
    kept: torch.Tensor | None = None
    active: tuple[torch.Tensor, ...] = ()


def stock_runs(
    session: VideoSession, questions: Sequence[str], prompts: Sequence[Prompt], new_tokens: int
) -> list[Run]:
    """Stock `generate()` on the inputs of the stock processor.

    The vision tower runs for the first question, on the whole video; the others get what it made.

    Args:
        session: the video.
        questions: about it.
        prompts: of the same questions; their videos are those of `session`, which aren't used.
        new_tokens: at most, for each.
    """
    model, family = session.loaded.model, session.loaded.family
    inputs = stock_inputs(session, questions[0])
    rows = family.placeholders(model.config, inputs["input_ids"], inputs)
    made: list[Encoded] = []

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not made:
            embeds = kwargs["inputs_embeds"]
            stacked = tuple(kwargs.get(DEEPSTACK) or ())
            made.append(Encoded(embeds[rows.to(embeds.device)], stacked))

    hook = before_forward(model.get_decoder(), note)
    try:
        first = generated(model, inputs, new_tokens)
    finally:
        hook.remove()
    others = (replace(one, videos=tuple(made) if one.videos else ()) for one in prompts[1:])
    return [first, *(attached_run(session, one, Method(), new_tokens) for one in others)]


def stock_inputs(session: VideoSession, question: str) -> dict[str, torch.Tensor]:
    """The inputs of a stock `generate()`: token ids, pixels, and what goes with them."""
    loaded, video = session.loaded, session.video
    if isinstance(video, StockPrompt):
        inputs = video.stock_inputs(question)
        dtype = loaded.model.dtype
        return {n: value.to(dtype) if is_pixels(value) else value for n, value in inputs.items()}
    key = loaded.family.pixels.key
    pixels = normalised(video.inputs[key], loaded.processor.video_processor, loaded.family.pixels)
    ids = video.input_ids(question)
    inputs = {"input_ids": ids, **video.inputs, **video.extra_inputs(ids, loaded.family.rope)}
    return inputs | {key: pixels.to(loaded.model.dtype)}


def attached_run(session: VideoSession, prompt: Prompt, method: Method, new_tokens: int) -> Run:
    """With a method attached, on a video that was encoded before, in chunks."""
    model = session.loaded.model
    inputs = {"input_ids": prompt.input_ids, **prompt.extra_inputs}
    with _shown(model, prompt):
        if method.name == "none":
            return generated(model, inputs, new_tokens)
        trace = None if method.pruning() is None else 0
        with attach(model, method, trace=trace, frames=session.video.frames) as attachment:
            run = generated(model, inputs, new_tokens)
    recorder = attachment.recorder
    active = () if recorder is None else recorder.active
    return replace(run, kept=attachment.kept[0], active=active)


@torch.inference_mode()
def generated(
    model: Any, inputs: dict[str, torch.Tensor], new_tokens: int, processors: Any = None
) -> Run:
    """One greedy `generate()` call.

    Args:
        model: a stock model.
        inputs: of one prompt, without an attention mask.
        new_tokens: at most.
        processors: of logits, or None.
    """
    output = model.generate(
        **{name: tensor.to(model.device) for name, tensor in inputs.items()},
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
    """Generates given tokens, whatever their logits are."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self._left = tokens.tolist()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self._left.pop(0)] = 0
        return forced


@torch.inference_mode()
def masked_run(session: VideoSession, prompt: Prompt, run: Run, method: DyCoke) -> Run:
    """The tokens of a run, with the logits that follow from its selections.

    Args:
        session: the video.
        prompt: that was answered.
        run: the answer, with its selections.
        method: that was attached, with the model's defaults.
    """
    assert run.kept is not None
    assert method.prune_layer is not None
    model = session.loaded.model
    whole = _decoder_inputs(model, prompt)
    visual = prompt.placeholders[0].nonzero().flatten()[: session.video.visual]
    stays = torch.ones(prompt.input_ids.shape[1], dtype=torch.bool)
    stays[visual] = False
    stays[visual[run.kept]] = True
    rows = stays.nonzero().flatten()
    columns = torch.isin(rows, visual).nonzero().flatten()

    positions = whole["position_ids"][..., rows.to(model.device)]
    behind = whole["position_ids"][..., -1:] + 1
    if method.renumbers():
        positions = torch.arange(len(rows), device=model.device)[None]
        behind = positions[..., -1:] + 1
    short = {"input_ids": prompt.input_ids[:, rows], "position_ids": positions}
    if TYPES in prompt.extra_inputs:
        short[TYPES] = prompt.extra_inputs[TYPES][:, rows]
    masked = _evicted_masked(model, method.prune_layer, len(rows), columns, run.active)
    with _sdpa(model), masked, _shortened(model, whole | {"position_ids": positions}, rows, behind):
        return generated(model, short, len(run.tokens), [_Forced(run.tokens)])


def _decoder_inputs(model: Any, prompt: Prompt) -> dict[str, Any]:
    """The decoder's inputs for the whole prompt: embeddings, positions, DeepStack."""
    inputs = {"input_ids": prompt.input_ids, **prompt.extra_inputs}
    with _shown(model, prompt):
        kwargs = at_decoder(model, partial(generated, model, inputs, 1))
    if kwargs.get("position_ids") is None:
        kwargs["position_ids"] = torch.arange(prompt.input_ids.shape[1], device=model.device)[None]
    return kwargs


def _shown(model: Any, prompt: Prompt) -> AbstractContextManager[None]:
    """Within the block, a prompt has its video, unless `generate()` encodes it."""
    if not prompt.videos:
        return nullcontext()
    return inject_videos(model, [prompt.videos], prompt.placeholders)


@contextmanager
def _shortened(
    model: Any, whole: dict[str, Any], rows: torch.Tensor, behind: torch.Tensor
) -> Iterator[None]:
    """Within the block, the first prefill has these tokens of the whole prompt only.

    What is generated has the positions from `behind` on: some stock classes number anew.
    """
    step = [-1]  # the prompt comes first
    at = rows.to(model.device)[None]

    def write(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        step[0] += 1
        if step[0]:
            return args, kwargs | {"position_ids": behind + step[0] - 1}
        kwargs = kwargs | {"position_ids": whole["position_ids"]}
        there = (name for name in PER_TOKEN if whole.get(name) is not None)
        kwargs = kwargs | {name: take(whole[name], at) for name in there}
        if whole.get(DEEPSTACK) is None:
            return args, kwargs
        shown = whole[VISUAL_MASK]
        number = (shown.flatten().cumsum(0) - 1)[at[0]]
        kept = shown[:, at[0]]
        stacked = [values[number[kept[0]].to(values.device)] for values in whole[DEEPSTACK]]
        return args, kwargs | {VISUAL_MASK: kept, DEEPSTACK: stacked}

    hook = before_forward(model.get_decoder(), write)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _evicted_masked(
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
    """Within the block, attention is SDPA, which takes a mask per layer."""
    decoder = model.get_decoder()
    before = attention_implementation(decoder)
    decoder.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)
