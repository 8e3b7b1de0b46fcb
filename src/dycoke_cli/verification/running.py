"""Greedy answers with their logits: of plain stock `generate()`, and with a method attached."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.prompts import Prompt, inject_videos
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.models.families.pixels import normalised


@dataclass(frozen=True)
class Run:
    """What a model wrote.

    Args:
        tokens: `[T]`, int64.
        logits: `[T, vocabulary]`, float32, on the CPU.
        kept: `[M]`, int64: the visual tokens that were read, where they were taken down.
        active: for each decoding step `[A]`, int64: which of those it attended to; empty without
            decode pruning.
    """

    tokens: torch.Tensor
    logits: torch.Tensor
    kept: torch.Tensor | None = None
    active: tuple[torch.Tensor, ...] = ()


def plain(session: VideoSession, question: str, new_tokens: int) -> Run:
    """Stock `generate()` on all that the stock processor makes; nothing was encoded before."""
    return generated(session.loaded.model, plain_inputs(session, question), new_tokens)


def plain_inputs(session: VideoSession, question: str) -> dict[str, torch.Tensor]:
    """What a stock `generate()` takes: token ids, pixels, and what goes with them."""
    loaded, video = session.loaded, session.video
    key = loaded.family.pixels.key
    pixels = normalised(video.inputs[key], loaded.processor.video_processor, loaded.family.pixels)
    ids = video.input_ids(question)
    inputs = {"input_ids": ids, **video.inputs, **video.beside(ids, loaded.family.rope)}
    return inputs | {key: pixels.to(loaded.model.dtype)}


def attached(session: VideoSession, prompt: Prompt, method: Method, new_tokens: int) -> Run:
    """A method attached, on a video that was encoded before, in chunks."""
    model = session.loaded.model
    around: Any = nullcontext()
    if method.name != "none":
        around = attach(model, method, trace=method.pruning() is not None)
    with inject_videos(model, [prompt.video], prompt.placeholders), around as attachment:
        run = generated(model, {"input_ids": prompt.input_ids, **prompt.extra_inputs}, new_tokens)
    recorder = None if attachment is None else attachment.recorder
    return run if recorder is None else replace(run, kept=recorder.kept, active=recorder.active)


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
