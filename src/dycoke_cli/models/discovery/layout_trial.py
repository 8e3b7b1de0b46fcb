"""A stock model that is shown a few frames of noise, and what its text decoder is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families import Family
from dycoke_cli.models.families.arguments import DEEPSTACK, with_video
from dycoke_cli.models.families.pixels import Inputs, is_pixels
from dycoke_cli.models.prompts.stock_prompt import show
from dycoke_cli.models.prompts.video_prompt import ShownFrames
from dycoke_cli.stock.cache_argument import cache_name

SIZES = ((48, 64), (48, 96))
"""Height and width of the frames: two shapes."""
QUESTION = "What is it?"


@dataclass(frozen=True)
class Trial:
    """What the stock decoder was called with for one prompt.

    Args:
        inputs: of the stock processor.
        kwargs: of the text decoder, in the prefill.
        step: those of the first decoding step.
        frames: how many were shown.
        by_ids: whether the model's own forward was given token ids, which methods go by.
    """

    inputs: Inputs
    kwargs: dict[str, Any]
    step: dict[str, Any]
    frames: int
    by_ids: bool

    @property
    def input_ids(self) -> torch.Tensor:
        """`[S]`, int64."""
        return self.inputs["input_ids"][0]

    @property
    def embeds(self) -> torch.Tensor:
        """`[S, D]`."""
        return self.kwargs["inputs_embeds"][0]

    @property
    def positions(self) -> torch.Tensor:
        """`[..., 1, S]`, int64; those that the decoder counts by itself where it is given none."""
        given = self.kwargs.get("position_ids")
        if given is None:
            return torch.arange(len(self.input_ids), device=self.embeds.device)[None]
        return given

    def is_as(self, other: Trial) -> bool:
        """Whether the decoder was called with the same, bit for bit."""
        return _same(self.kwargs, other.kwargs) and _same(self.step, other.step)


def show_noise(
    model: Any, processor: Any, family: Family, clip: ShownFrames, question: str = QUESTION
) -> Trial:
    """Show a model a clip by the stock processor and the stock `generate()`.

    Args:
        model: stock.
        processor: its stock processor.
        family: what is known of it.
        clip: what it is shown.
        question: what it is asked.
    """
    prompt: Any = show(processor, family, model.config, clip)
    return _run(model, prompt.stock_inputs(question), len(prompt.pictures))


def show_encoded(model: Any, asked: Trial, encoded: Trial, token: int) -> Trial:
    """Ask a question again without its pixels, on what the vision side made for another.

    Args:
        model: stock.
        asked: the question.
        encoded: the same clip under the other question.
        token: the placeholder.
    """
    rows = torch.eq(encoded.input_ids, token).to(encoded.embeds.device)
    places = torch.eq(asked.inputs["input_ids"], token)
    deepstack = encoded.kwargs.get(DEEPSTACK) or ()

    def fill(kwargs: dict[str, Any]) -> dict[str, Any]:
        return with_video(kwargs, places, encoded.embeds[rows], deepstack)

    inputs = {name: value for name, value in asked.inputs.items() if not is_pixels(value)}
    return _run(model, inputs, asked.frames, fill)


@torch.inference_mode()
def _run(
    model: Any,
    inputs: Inputs,
    frames: int,
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda kwargs: kwargs,
) -> Trial:
    """Generate two tokens, the prefill's arguments of the decoder changed; see what it got."""
    device = input_device(model)
    calls: list[dict[str, Any]] = []
    of_model: list[dict[str, Any]] = []

    def at_decoder(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        calls.append(kwargs if calls else change(kwargs))
        return args, dict(calls[-1])

    def at_model(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        of_model.append(dict(kwargs))

    placed = {
        name: value.to(device, model.dtype) if is_pixels(value) else value.to(device)
        for name, value in inputs.items()
    }
    hooks = [
        module.register_forward_pre_hook(hook, with_kwargs=True)
        for module, hook in ((model.get_decoder(), at_decoder), (model, at_model))
    ]
    try:
        model.generate(
            **placed,
            attention_mask=torch.ones_like(placed["input_ids"]),
            max_new_tokens=2,
            min_new_tokens=2,
            do_sample=False,
        )
    finally:
        for hook in hooks:
            hook.remove()
    by_ids = bool(of_model) and of_model[0].get("input_ids") is not None
    return Trial(inputs, calls[0], calls[1], frames, by_ids)


def _same(one: Any, other: Any) -> bool:
    if torch.is_tensor(one) or torch.is_tensor(other):
        return torch.is_tensor(one) and torch.is_tensor(other) and torch.equal(one, other)
    if isinstance(one, dict):
        names = (one.keys() | other.keys()) - {cache_name(one)}
        return all(_same(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list | tuple):
        alike = isinstance(other, list | tuple) and len(one) == len(other)
        return alike and all(map(_same, one, other))
    return bool(one == other)


def noise(frames: int, changed: int | None = None, size: tuple[int, int] = SIZES[0]) -> ShownFrames:
    """A clip of noise, a second a frame; one frame may be other than in the clip without it."""
    pictures = np.random.default_rng(0).integers(0, 256, (frames, *size, 3), np.uint8)
    if changed is not None:
        pictures[changed] = 255 - pictures[changed]
    return ShownFrames(pictures, tuple(map(float, range(frames))))
