"""Trial runs: a stock model generates on frames of noise; its decoder arguments are recorded."""

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
from dycoke_cli.models.prompts.prompt_frames import ShownFrames
from dycoke_cli.models.prompts.stock_prompt import show
from dycoke_cli.stock.cache_argument import cache_name

SIZES = ((48, 64), (48, 96))
"""Height and width of the frames, in two aspect ratios."""
QUESTION = "What is it?"


@dataclass(frozen=True)
class Trial:
    """Arguments of the stock text decoder for one prompt."""

    inputs: Inputs  # output of the stock processor
    kwargs: dict[str, Any]  # arguments of the text decoder at prefill
    step: dict[str, Any]  # arguments of the text decoder at the first decoding step
    frames: int  # number of frames in the prompt
    by_ids: bool  # whether the model's forward received token ids, which methods need

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
        """Positions `[..., 1, S]`, int64; 0, 1, 2, … where the decoder received none."""
        positions = self.kwargs.get("position_ids")
        if positions is None:
            return torch.arange(len(self.input_ids), device=self.embeds.device)[None]
        return positions

    def is_as(self, other: Trial) -> bool:
        """Whether the decoder arguments are identical, bit for bit."""
        return _same(self.kwargs, other.kwargs) and _same(self.step, other.step)


def show_noise(
    model: Any, processor: Any, family: Family, clip: ShownFrames, question: str = QUESTION
) -> Trial:
    """Run a clip through the stock processor and the stock `generate()`."""
    prompt: Any = show(processor, family, model.config, clip)
    return _run(model, prompt.stock_inputs(question), len(prompt.pictures))


def show_encoded(model: Any, question: Trial, encoded: Trial, token: int) -> Trial:
    """Run a question again without pixels, on the visual embeddings of another question."""
    rows = torch.eq(encoded.input_ids, token).to(encoded.embeds.device)
    places = torch.eq(question.inputs["input_ids"], token)
    deepstack = encoded.kwargs.get(DEEPSTACK) or ()

    def fill(kwargs: dict[str, Any]) -> dict[str, Any]:
        return with_video(kwargs, places, encoded.embeds[rows], deepstack)

    inputs = {name: value for name, value in question.inputs.items() if not is_pixels(value)}
    return _run(model, inputs, question.frames, fill)


@torch.inference_mode()
def _run(
    model: Any,
    inputs: Inputs,
    frames: int,
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda kwargs: kwargs,
) -> Trial:
    """Generate two tokens and record the decoder arguments of prefill and first decoding step."""
    device = input_device(model)
    decoder_calls: list[dict[str, Any]] = []
    model_calls: list[dict[str, Any]] = []

    def at_decoder(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        decoder_calls.append(kwargs if decoder_calls else change(kwargs))
        # A copy is passed on: a stock forward may add to its keyword arguments.
        return args, dict(decoder_calls[-1])

    def at_model(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        model_calls.append(dict(kwargs))

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
            # The second token needs the first decoding step, whose arguments are recorded. A random
            # model may generate the end token at once; `min_new_tokens` forbids that.
            max_new_tokens=2,
            min_new_tokens=2,
            do_sample=False,
        )
    finally:
        for hook in hooks:
            hook.remove()
    by_ids = bool(model_calls) and model_calls[0].get("input_ids") is not None
    return Trial(inputs, decoder_calls[0], decoder_calls[1], frames, by_ids)


def _same(one: Any, other: Any) -> bool:
    """Whether nested arguments are equal; caches aren't compared, as each run has its own."""
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
    """A clip of noise at one frame per second, the same each time; frame `changed` is inverted."""
    images = np.random.default_rng(0).integers(0, 256, (frames, *size, 3), np.uint8)
    if changed is not None:
        images[changed] = 255 - images[changed]
    return ShownFrames(images, tuple(map(float, range(frames))))
