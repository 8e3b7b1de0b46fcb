"""The layout of a family that the table doesn't know, found on the loaded model and proven there.

A few frames of noise go through the stock processor and the stock `generate()`. Changing one frame
shows which rows before the text decoder are its own, so the placeholders that a rule assigns to a
frame are compared with those that it really fills. What is found is used only if the stock decoder
confirms it: without a frame's rows it must give what it gives where those rows are masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache, __version__
from transformers.cache_utils import DynamicLayer

from dycoke_cli.errors import DycokeError, ModelError, UsageError
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.discovery.layout_trial import (
    SIZES,
    Trial,
    noise,
    show_encoded,
    show_noise,
)
from dycoke_cli.models.families import UNLISTED, Family, Layout
from dycoke_cli.models.families.arguments import DEEPSTACK, PER_TOKEN, VISUAL_MASK
from dycoke_cli.models.families.pixels import is_pixels
from dycoke_cli.models.prompts.stock_processor import takes_pictures_alone
from dycoke_cli.models.prompts.stock_prompt import first_line, placeholder_of
from dycoke_cli.stock.cache_argument import cache_name

FRAMES = 5
"""Of the trial: odd, so that groups of two or four frames show by what is left over."""
_MERGED = (1, 2, 4)
_OTHER_QUESTION = "Who else came, and when?"
# By how much rounding may grow in all layers together; and of what dropping a frame changes, what
# two orders of the same sums may differ by.
_GROWTH, _SHARE = 32, 1e-3


class UnprovenError(Exception):
    """Says why no layout can be used, as the end of a sentence."""


def find_layout(model: Any, processor: Any, name: str) -> Family:
    """Find the layout of a model, as far as it can be proven.

    Args:
        model: stock, in evaluation mode.
        processor: its stock processor.
        name: of the model.

    Returns:
        Its family, whose `only_none` says why where no method can be used.

    Raises:
        ModelError: the stock class can't be shown a video at all.
    """
    family = _accepted(model, processor, name)
    try:
        return _proven(model, processor, family)
    except UnprovenError as why:
        return replace(family, only_none=f"its layout can't be proven: {why}")


def _accepted(model: Any, processor: Any, name: str) -> Family:
    """How many frames the stock class takes, and with which options of its processor."""
    failure: Exception | None = None
    pictures = replace(UNLISTED, as_pictures=True)
    ways = [UNLISTED, replace(UNLISTED, typed=True), pictures]
    if takes_pictures_alone(processor):
        ways = [pictures, replace(pictures, typed=True)]
    for family in ways:
        try:
            read = show_noise(model, processor, family, noise(FRAMES))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            failure = failure or error
            continue
        # A group more, however many frames are merged.
        more = show_noise(model, processor, family, noise(FRAMES + max(_MERGED)))
        if len(more.input_ids) == len(read.input_ids):
            seen = _seen(model, processor, family, more)
            if seen < more.frames:  # not larger groups of them
                return replace(family, exact_frames=seen)
        try:
            show_noise(model, processor, family, noise(1))
        except Exception:
            return replace(family, least_frames=2)
        return family
    said = str(failure) if isinstance(failure, DycokeError) else first_line(failure or OSError())
    raise ModelError(
        f"{name} can't be shown a video: transformers {__version__} fails on it ({said})"
    ) from failure


def _seen(model: Any, processor: Any, family: Family, read: Trial) -> int:
    """How many of the frames a model sees."""
    clips = (noise(read.frames, changed=i) for i in range(read.frames))
    each = (show_noise(model, processor, family, clip) for clip in clips)
    return sum(not torch.equal(one.embeds, read.embeds) for one in each)


def _proven(model: Any, processor: Any, family: Family) -> Family:
    frames = family.exact_frames or FRAMES
    read = show_noise(model, processor, family, noise(frames))
    token = placeholder_of(processor, model.config, read.input_ids[None])
    if token is None:
        raise UnprovenError("nothing tells which tokens of its prompt are the video's")
    if not hasattr(model.get_decoder(), "layers"):
        raise UnprovenError("its text decoder isn't a stack of layers")
    if not read.by_ids:
        raise UnprovenError("its generate() gives its language model embeddings, not token ids")
    # They answer otherwise than stock on a shortened prompt, and no masked run would show it.
    if "indexed_attention" in (getattr(model.get_decoder().config, "layer_types", None) or ()):
        raise UnprovenError("its layers look tokens up in an index of their own")
    _check_arguments(read)
    changed = [
        (i, show_noise(model, processor, family, noise(frames, changed=i))) for i in (0, frames - 1)
    ]
    family = replace(
        family,
        token_id=token,
        rope=("position_ids",) if read.positions.dim() > 2 else (),
        keeps_every_token=_keeps_every_token(model),
        only_none="",
    )
    other = show_noise(model, processor, family, noise(frames, size=SIZES[1]))
    reasons = []
    for candidate in _candidates(family, read):
        try:
            layout = _checked(candidate, model.config, read, changed, other)
        except UnprovenError as why:
            reasons.append(str(why))
            continue
        _prove(model, candidate, read, layout)
        found = replace(candidate, merged=_merged(read.frames, layout.frames))
        return replace(found, vision_inputs=_vision_inputs(model, processor, found, read))
    raise UnprovenError(reasons[0])


def _candidates(family: Family, read: Trial) -> Iterator[Family]:
    """Each rule by which placeholders may be frames, the most telling first."""
    index = torch.eq(read.input_ids, family.token(None)).nonzero().flatten()
    runs = int((index.diff(prepend=index[:1] - 2) > 1).sum())
    if runs > 1:
        yield family
        return
    if family.rope:
        yield replace(family, one_run=True)
        return
    if "video_grid_thw" in read.inputs:
        yield replace(family, one_run=True, frames_told=True)
        return
    for merged in _MERGED:
        frames = -(-read.frames // merged)
        per_frame, tail = divmod(len(index), frames)
        if per_frame:
            yield replace(family, one_run=True, tail=tail, per_frame=Always(per_frame))


@dataclass(frozen=True)
class Always:
    """The tokens of a frame of a family whose frames all have as many."""

    tokens: int

    def __call__(self, config: Any) -> int:
        """The number, whatever the configuration."""
        return self.tokens


def _checked(
    family: Family,
    config: Any,
    read: Trial,
    changed: Sequence[tuple[int, Trial]],
    other: Trial,
) -> Layout:
    """The layout by a rule, if each changed frame changed the rows that are its own, and no others.

    Raises:
        UnprovenError: it didn't.
    """
    layout = _layout(family, config, read)
    merged = _merged(read.frames, layout.frames)
    for number, one in changed:
        if one.embeds.shape != read.embeds.shape:
            raise UnprovenError("the number of its tokens depends on what frames show")
        rows = (one.embeds != read.embeds).any(-1).nonzero().flatten().cpu()
        own = layout.index[layout.frame == number // merged]
        if not len(rows) or not torch.isin(rows, own).all():
            raise UnprovenError(
                "its vision side mixes frames: changing one changes the tokens of others"
                if torch.isin(rows, layout.index).all()
                else "frames change rows that aren't placeholders"
            )
        if len(rows) != len(own):
            raise UnprovenError("some of a frame's placeholders aren't filled by it")
    if family.per_frame is not None:
        again = _layout(family, config, other)
        if again.frames != layout.frames:
            raise UnprovenError(
                "frames of another shape have other numbers of tokens, and nothing in the prompt "
                "tells where each begins"
            )
    return layout


def _merged(frames: int, groups: int) -> int:
    """How many frames share tokens, where so many have so many groups of them.

    Raises:
        UnprovenError: no number that is known.
    """
    for merged in _MERGED:
        if -(-frames // merged) == groups:
            return merged
    raise UnprovenError(f"{frames} frames have {groups} groups of tokens")


def _layout(family: Family, config: Any, read: Trial) -> Layout:
    positions = read.positions[:, 0] if family.rope else None
    grids = read.inputs.get("video_grid_thw")
    frames = None if grids is None or len(grids) != 1 else int(grids[0, 0])
    try:
        [layout] = family.layouts(config, read.input_ids, positions, frames=frames)
    except (UsageError, ValueError) as error:
        raise UnprovenError(str(error)) from error
    return layout


def _check_arguments(read: Trial) -> None:
    """Check that all that the decoder gets per token is known.

    Raises:
        UnprovenError: something isn't, or positions don't count on behind the prompt.
    """
    mask = read.kwargs.get("attention_mask")
    if mask is not None and not (torch.is_tensor(mask) and mask.dim() == 2):
        raise UnprovenError("it makes attention masks of its own")
    length = len(read.input_ids)
    known = {*PER_TOKEN, "position_ids", "attention_mask", DEEPSTACK, VISUAL_MASK}
    for name, value in read.kwargs.items():
        if torch.is_tensor(value) and length in value.shape and name not in known:
            raise UnprovenError(f"its text decoder gets {name} for each token")
    upcoming = read.step.get("position_ids")
    if read.kwargs.get("position_ids") is not None and (
        upcoming is None or not torch.equal(upcoming, read.positions[..., -1:] + 1)
    ):
        raise UnprovenError("positions don't count on behind its prompt")


@torch.inference_mode()
def _prove(model: Any, family: Family, read: Trial, layout: Layout) -> None:
    """Compare a shortened prompt with one in which the same tokens are masked.

    Raises:
        UnprovenError: the stock decoder tells them apart, or doesn't repeat itself.
    """
    length = len(read.input_ids)
    whole = _hidden(model, read.kwargs)
    positions = read.positions
    if not torch.equal(whole, _hidden(model, read.kwargs | {"position_ids": positions})):
        raise UnprovenError("its text decoder numbers tokens in a way of its own")
    dropped = layout.index[layout.frame == layout.frames // 2]
    rows = torch.ones(length, dtype=torch.bool)
    rows[dropped] = False
    short = _hidden(model, _of_rows(read.kwargs, positions, rows.nonzero().flatten()))
    if not family.keeps_every_token:
        return  # a token that was masked still moves the state of such a layer on
    mask = rows.to(positions.device, torch.int64)[None]
    masked = _hidden(model, read.kwargs | {"position_ids": positions, "attention_mask": mask})
    apart, effect = float((short - masked).abs().max()), float((short - whole).abs().max())
    rounding = _GROWTH * torch.finfo(model.dtype).eps * float(whole.abs().max())
    if apart > max(_SHARE * effect, rounding):
        raise UnprovenError("without a frame's tokens it doesn't answer as if they were masked")


def _vision_inputs(model: Any, processor: Any, family: Family, read: Trial) -> tuple[str, ...]:
    """The inputs that another question can do without, once the video is encoded; or none."""
    clip = noise(read.frames)
    asked = show_noise(model, processor, family, clip, _OTHER_QUESTION)
    try:
        alike = show_encoded(model, asked, read, family.token(None)).is_as(asked)
    except Exception as error:  # the stock class wants the pixels
        if is_out_of_memory(error):
            raise
        return ()
    return tuple(name for name, value in asked.inputs.items() if alike and is_pixels(value))


def _of_rows(kwargs: dict[str, Any], positions: torch.Tensor, rows: torch.Tensor) -> dict[str, Any]:
    """The arguments of the decoder for some of the tokens."""
    cut: dict[str, Any] = {
        name: kwargs[name][:, rows.to(kwargs[name].device)]
        for name in (*PER_TOKEN, "attention_mask", VISUAL_MASK)
        if torch.is_tensor(kwargs.get(name))
    }
    if kwargs.get(DEEPSTACK) is not None:
        stays = torch.isin(kwargs[VISUAL_MASK][0].nonzero().flatten().cpu(), rows)
        cut[DEEPSTACK] = [values[stays.to(values.device)] for values in kwargs[DEEPSTACK]]
    return kwargs | cut | {"position_ids": positions[..., rows.to(positions.device)]}


def _hidden(model: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    """The last token's last hidden state `[D]`, as the stock decoder makes it."""
    decoder = model.get_decoder()
    made = decoder(**kwargs | {cache_name(kwargs): DynamicCache(config=decoder.config)})
    hidden: torch.Tensor = made.last_hidden_state[0, -1].float()
    return hidden


def _keeps_every_token(model: Any) -> bool:
    cache = DynamicCache(config=model.get_decoder().config)
    return all(type(layer) is DynamicLayer for layer in cache.layers)
