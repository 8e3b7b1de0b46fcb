"""Discovers the layout of a family outside the table by trials, and proves it.

A trial runs a few frames of noise through the stock processor and the stock `generate()`. Changing
one frame shows which rows of the decoder's input depend on it. A rule that divides placeholders
into frames must assign exactly those rows to the frame. A layout is used only if the stock decoder
confirms it: dropping a frame's rows must give the same output as masking them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, __version__
from transformers.cache_utils import DynamicLayer

from dycoke_cli.errors import DycokeError, ModelError, UsageError
from dycoke_cli.models.devices import input_device, is_out_of_memory
from dycoke_cli.models.families import UNLISTED, Family, Layout
from dycoke_cli.models.families.layout import DEEPSTACK, PER_TOKEN, VISUAL_MASK, Inputs, is_pixels
from dycoke_cli.models.prompts.stock_processor import ShownFrames
from dycoke_cli.models.prompts.stock_prompt import first_line, placeholder_of, show
from dycoke_cli.stock.private_api import cache_name

# Trial runs: a stock model generates on frames of noise; its decoder arguments are recorded.


SIZE = (48, 64)
"""Height and width of the frames."""
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


@torch.inference_mode()
def show_noise(model: Any, processor: Any, family: Family, clip: ShownFrames) -> Trial:
    """Run a clip through the stock processor and the stock `generate()`.

    Two tokens are generated, and the decoder arguments of prefill and first decoding step recorded.
    """
    prompt: Any = show(processor, family, model.config, clip)
    inputs = prompt.stock_inputs(QUESTION)
    device = input_device(model)
    decoder_calls: list[dict[str, Any]] = []
    model_calls: list[dict[str, Any]] = []

    def at_decoder(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        decoder_calls.append(kwargs)
        # A copy is passed on: a stock forward may add to its keyword arguments.
        return args, dict(kwargs)

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
    return Trial(inputs, decoder_calls[0], decoder_calls[1], len(prompt.pictures), by_ids)


def noise(frames: int, changed: int | None = None) -> ShownFrames:
    """A clip of noise at one frame per second, the same each time; frame `changed` is inverted."""
    images = np.random.default_rng(0).integers(0, 256, (frames, *SIZE, 3), np.uint8)
    if changed is not None:
        images[changed] = 255 - images[changed]
    return ShownFrames(images, tuple(map(float, range(frames))))


FRAMES = 5
"""Frames of a trial: odd, so that groups of two or four frames leave a visible remainder."""
_PATCH_SIZES = (1, 2, 4)
# Tolerances when two runs are compared. Dropping rows changes the order in which attention sums
# them. The result may differ by so many roundings over all layers, or by this share of the effect
# that the dropped frame has: a wrong layout differs by the effect itself.
_MAX_ROUNDINGS, _MAX_SHARE_OF_EFFECT = 32, 1e-3


class UnprovenError(Exception):
    """Reason why no layout can be used, phrased as the end of a sentence."""


def find_layout(model: Any, processor: Any, name: str) -> Family:
    """Discover the layout of a model, as far as it can be proven."""
    family = _accepted(model, processor, name)
    try:
        return _proven(model, processor, family)
    except UnprovenError as reason:
        return replace(family, only_none=f"its layout can't be proven: {reason}")


def _accepted(model: Any, processor: Any, name: str) -> Family:
    """An unlisted family with the least number of frames that the stock class accepts."""
    try:
        show_noise(model, processor, UNLISTED, noise(FRAMES))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = str(error) if isinstance(error, DycokeError) else first_line(error)
        raise ModelError(
            f"{name} can't be shown a video: transformers {__version__} fails on it ({reason})"
        ) from error
    try:
        show_noise(model, processor, UNLISTED, noise(1))
    except Exception:
        return replace(UNLISTED, least_frames=2)
    return UNLISTED


def _proven(model: Any, processor: Any, family: Family) -> Family:
    """The family with its layout."""
    trial = show_noise(model, processor, family, noise(FRAMES))
    token = placeholder_of(processor, model.config, trial.input_ids[None])
    if token is None:
        raise UnprovenError("nothing tells which tokens of its prompt are the video's")
    if not hasattr(model.get_decoder(), "layers"):
        raise UnprovenError("its text decoder isn't a stack of layers")
    if not trial.by_ids:
        raise UnprovenError("its generate() gives its language model embeddings, not token ids")
    # Sparse attention with an indexer: on a shortened prompt it attends to other tokens than stock
    # does, which the comparison with a masked run doesn't reveal.
    if "indexed_attention" in (getattr(model.get_decoder().config, "layer_types", None) or ()):
        raise UnprovenError("its layers look tokens up in an index of their own")
    _check_arguments(trial)
    # First and last frame: if frames are grouped, one is in a full group, the other in the rest.
    changed = [
        (i, show_noise(model, processor, family, noise(FRAMES, changed=i))) for i in (0, FRAMES - 1)
    ]
    family = replace(
        family,
        token_id=token,
        # Grid positions are [3 or more, B, S]; positions that count tokens are [B, S].
        rope=("position_ids",) if trial.positions.dim() > 2 else (),
        keeps_every_token=_keeps_every_token(model),
        only_none="",
    )
    family = _divided(family, trial)
    layout = _checked(family, model.config, trial, changed)
    _prove(model, family, trial, layout)
    return replace(family, temporal_patch_size=_temporal_patch_size(trial.frames, layout.frames))


def _divided(family: Family, trial: Trial) -> Family:
    """The family with the rule that divides its placeholders into frames.

    Several runs, grid positions and a frame count each determine the frames.
    """
    index = torch.eq(trial.input_ids, family.token(None)).nonzero().flatten()
    runs = int((index.diff(prepend=index[:1] - 2) > 1).sum())
    if runs > 1:
        return family
    if family.rope:
        return replace(family, one_run=True)
    if "video_grid_thw" in trial.inputs:
        return replace(family, one_run=True, needs_frame_count=True)
    raise UnprovenError("nothing in its prompt tells where a frame begins")


def _checked(
    family: Family, config: Any, trial: Trial, changed: Sequence[tuple[int, Trial]]
) -> Layout:
    """The layout by a rule, if each changed frame changes exactly the rows of its placeholders."""
    layout = _layout(family, config, trial)
    size = _temporal_patch_size(trial.frames, layout.frames)
    for number, one in changed:
        if one.embeds.shape != trial.embeds.shape:
            raise UnprovenError("the number of its tokens depends on what frames show")
        rows = (one.embeds != trial.embeds).any(-1).nonzero().flatten().cpu()
        own = layout.index[layout.frame == number // size]
        if not len(rows) or not torch.isin(rows, own).all():
            raise UnprovenError(
                "its vision side mixes frames: changing one changes the tokens of others"
                if torch.isin(rows, layout.index).all()
                else "frames change rows that aren't placeholders"
            )
        # A frame of noise changes all embeddings that are made of it. The others are text, such as
        # newline tokens, which a method would merge or drop like visual tokens.
        if len(rows) != len(own):
            raise UnprovenError("some of a frame's placeholders aren't filled by it")
    return layout


def _temporal_patch_size(frames: int, groups: int) -> int:
    """Input frames per group of tokens."""
    for size in _PATCH_SIZES:
        if -(-frames // size) == groups:
            return size
    raise UnprovenError(f"{frames} frames have {groups} groups of tokens")


def _layout(family: Family, config: Any, trial: Trial) -> Layout:
    positions = trial.positions[:, 0] if family.rope else None
    # With several grids, the processor didn't treat the clip as one video.
    grids = trial.inputs.get("video_grid_thw")
    frames = None if grids is None or len(grids) != 1 else int(grids[0, 0])
    try:
        [layout] = family.layouts(config, trial.input_ids, positions, frames=frames)
    except (UsageError, ValueError) as error:
        raise UnprovenError(str(error)) from error
    return layout


def _check_arguments(trial: Trial) -> None:
    """Check that every per-token argument of the decoder is one that can be cut."""
    mask = trial.kwargs.get("attention_mask")
    if mask is not None and not (torch.is_tensor(mask) and mask.dim() == 2):
        raise UnprovenError("it makes attention masks of its own")
    length = len(trial.input_ids)
    supported = {*PER_TOKEN, "position_ids", "attention_mask", DEEPSTACK, VISUAL_MASK}
    # An axis as long as the prompt is taken to be per token: a false alarm only refuses methods,
    # while an argument that isn't cut along would give wrong answers.
    for name, value in trial.kwargs.items():
        if torch.is_tensor(value) and length in value.shape and name not in supported:
            raise UnprovenError(f"its text decoder gets {name} for each token")
    upcoming = trial.step.get("position_ids")
    if trial.kwargs.get("position_ids") is not None and (
        upcoming is None or not torch.equal(upcoming, trial.positions[..., -1:] + 1)
    ):
        raise UnprovenError("positions don't count on behind its prompt")


@torch.inference_mode()
def _prove(model: Any, family: Family, trial: Trial, layout: Layout) -> None:
    """Compare the decoder's output on a shortened prompt with that on a masked one."""
    length = len(trial.input_ids)
    whole = _hidden(model, trial.kwargs)
    positions = trial.positions
    # A shortened prompt gets explicit positions, so passing those of the whole one must be neutral.
    if not torch.equal(whole, _hidden(model, trial.kwargs | {"position_ids": positions})):
        raise UnprovenError("its text decoder numbers tokens in a way of its own")
    # A frame in the middle, so that the positions of the shortened prompt have a gap.
    dropped = layout.index[layout.frame == layout.frames // 2]
    rows = torch.ones(length, dtype=torch.bool)
    rows[dropped] = False
    short = _hidden(model, _of_rows(trial.kwargs, positions, rows.nonzero().flatten()))
    if not family.keeps_every_token:
        # Nothing to compare with: a masked token still advances the state of linear attention and
        # takes up space in a sliding window. That the shortened prompt runs is all that is shown.
        return
    mask = rows.to(positions.device, torch.int64)[None]
    masked = _hidden(model, trial.kwargs | {"position_ids": positions, "attention_mask": mask})
    apart, effect = float((short - masked).abs().max()), float((short - whole).abs().max())
    rounding = _MAX_ROUNDINGS * torch.finfo(model.dtype).eps * float(whole.abs().max())
    if apart > max(_MAX_SHARE_OF_EFFECT * effect, rounding):
        raise UnprovenError("without a frame's tokens it doesn't answer as if they were masked")


def _of_rows(kwargs: dict[str, Any], positions: torch.Tensor, rows: torch.Tensor) -> dict[str, Any]:
    """Arguments of the decoder for some of the tokens."""
    cut: dict[str, Any] = {
        name: kwargs[name][:, rows.to(kwargs[name].device)]
        for name in (*PER_TOKEN, "attention_mask", VISUAL_MASK)
        if torch.is_tensor(kwargs.get(name))
    }
    if kwargs.get(DEEPSTACK) is not None:
        # DeepStack tensors have one row per visual token, not per token of the prompt: which of
        # them stay follows from the visual tokens' places in the prompt.
        stays = torch.isin(kwargs[VISUAL_MASK][0].nonzero().flatten().cpu(), rows)
        cut[DEEPSTACK] = [values[stays.to(values.device)] for values in kwargs[DEEPSTACK]]
    return kwargs | cut | {"position_ids": positions[..., rows.to(positions.device)]}


def _hidden(model: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    """Last hidden state `[D]` of the last token, from the stock decoder."""
    decoder = model.get_decoder()
    # The trial's own cache is full by now, so each run gets an empty one.
    output = decoder(**kwargs | {cache_name(kwargs): DynamicCache(config=decoder.config)})
    hidden: torch.Tensor = output.last_hidden_state[0, -1].float()
    return hidden


def _keeps_every_token(model: Any) -> bool:
    """Whether the cache keeps every token in all layers; sliding windows have another class."""
    cache = DynamicCache(config=model.get_decoder().config)
    return all(type(layer) is DynamicLayer for layer in cache.layers)
