"""Shortened prompts: what a method drops is removed from the inputs of the text decoder.

So are rows of DeepStack and masks, which some text decoders read beside embeddings and positions. A
prompt whose video was read in windows is made short from the start (`short_prompt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from dycoke_cli.compression.method import Method, Selection
from dycoke_cli.compression.pool import PooledTokens
from dycoke_cli.engine.model_inputs import EmbeddedPrompts, ModelInputs, arguments_at, take
from dycoke_cli.engine.selecting import kept_of_each
from dycoke_cli.engine.state import (
    STATE_ARGUMENT,
    DecodeStats,
    GenerationState,
    Prefill,
    ShortenedSequence,
    Stage,
    Videos,
)
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.vision import Encoded, Preselection, Prompt, at_decoder
from dycoke_cli.errors import UsageError
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families import Family, Layout
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.families.layout import DEEPSTACK, VISUAL_MASK
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt, extra_inputs
from dycoke_cli.stock.forward import Arguments, after_forward, before_forward
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of


def shorten(prefill: Prefill) -> None:
    """Drop what the method doesn't keep from everything that has one value per token.

    Of S tokens of each prompt R are read. Sequences that end up shorter than the longest are padded
    left. Features of a selection take the place of those of the tokens kept. `prefill.kwargs` has
    `inputs_embeds` [B, S, D], `position_ids` [..., B, S] or None, and what else
    `model_inputs.PER_TOKEN` names.
    """
    kwargs, prompts, method = prefill.kwargs, prefill.prompts, prefill.method
    stays, layouts, device = prompts.stays, prompts.joined, prompts.embeddings.device
    # Indices are made on the CPU: their lengths decide shapes, and each would wait for the device.
    kept = prefill.kept = [selection.kept.cpu() for selection in prefill.selections]
    read = [tokens_to_read(stays[i], layout, kept[i]) for i, layout in enumerate(layouts)]
    # Each prompt loses as many tokens as its own selection drops, so that the shortest gets the
    # most padding in front. There it repeats token 0, which `keep` masks.
    length = max(len(tokens) for tokens, _ in read)
    paddings = [length - len(tokens) for tokens, _ in read]
    padded = [torch.nn.functional.pad(t, (p, 0)) for (t, _), p in zip(read, paddings, strict=True)]
    places = torch.stack(padded)
    # Of a prompt that is read as it is nothing has to be copied.
    is_whole = torch.equal(places, torch.arange(stays.shape[1]).expand(len(stays), -1)) and all(
        selection.features is None for selection in prefill.selections
    )
    at = prefill.at = places.to(device)
    keep = None
    if any(paddings):
        keep = (torch.arange(length) >= torch.tensor(paddings)[:, None]).to(device)
    positions, upcoming = _positions(kwargs, stays, at, keep, method)
    sequences = [
        _sequence(padding, visual, of_videos, chosen, method if prefill.pruning else None)
        for padding, (_, visual), of_videos, chosen in zip(
            paddings, read, prompts.layouts, kept, strict=True
        )
    ]
    # Not the count of tokens that may stand in front of time, height and width.
    largest = upcoming.reshape(-1, len(sequences))[-3:].amax(0).tolist()  # one copy from the device
    for sequence, position in zip(sequences, largest, strict=True):
        sequence.stats.next_position = position
    prefill.state = GenerationState(sequences, next_positions=upcoming, keep=keep)
    gathered = {} if is_whole else arguments_at(kwargs, at)
    embeddings = gathered.get("inputs_embeds", prompts.embeddings)
    for number, (sequence, selection) in enumerate(zip(sequences, prefill.selections, strict=True)):
        if selection.features is not None:
            places = sequence.visual.to(embeddings.device)
            # Not into `embeddings[number]`, which autograd doesn't let anyone write to.
            embeddings[number, places] = selection.features.to(embeddings)
    own = {"position_ids": positions, "attention_mask": keep, STATE_ARGUMENT: prefill.state}
    prefill.kwargs = {**kwargs, **gathered, **own}


def tokens_to_read(
    stays: torch.Tensor, layout: Layout | None, kept: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of one shortened sequence in reading order, and which of them are visual.

    Kept visual tokens take their places in the order of the selection, which need not be theirs.
    """
    if layout is None:
        return stays.nonzero().flatten(), kept
    index = layout.index.cpu()
    is_read = stays.clone()
    is_read[index] = False
    is_read[index[kept]] = True
    tokens = is_read.nonzero().flatten()
    # Text stays where it stands. The places of kept visual tokens, in reading order, are then given
    # to them in the order of the selection: of V at 5 … 9 and kept = [4, 0], places 5 and 9 get the
    # tokens 9 and 5. (The published variant puts them in order of similarity.)
    visual = torch.isin(tokens, index).nonzero().flatten()
    tokens[visual] = index[kept]
    return tokens, visual


def _positions(
    kwargs: dict[str, Any],
    stays: torch.Tensor,
    at: torch.Tensor,
    keep: torch.Tensor | None,
    method: Method,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions `[..., B, R]` of the shortened prompts, and `[..., B, 1]` of the next tokens."""
    batch, length = at.shape
    positions = kwargs.get("position_ids")
    if positions is None:  # as generate() makes them: padding doesn't count
        positions = (stays.long().cumsum(-1) - 1).clamp(min=0).to(at.device)
    positions = positions.expand(*positions.shape[:-2], batch, stays.shape[1])
    # What the positions would be if the shortened prompt were all there is: padding doesn't count.
    numbers = torch.arange(length, device=at.device).expand(batch, length)
    if keep is not None:
        numbers = (numbers - (~keep).sum(-1, keepdim=True)).clamp(min=0)
    if method.renumbers():
        if positions.dim() != 2:
            raise UsageError("3-D rotary positions can't be renumbered; use positions kept")
        return numbers, numbers[:, -1:] + 1
    # `at` as often as there are kinds of positions: time, height and width take the same tokens.
    places = at.expand(*positions.shape[:-2], batch, length)
    # The last token of a prompt is text, and generated tokens go on from it.
    kept, upcoming = positions.gather(-1, places), positions[..., -1:] + 1
    if positions.dim() == 3 and len(positions) == 4:
        # Time, height and width, and in front of them a count of tokens: gaps there would mean
        # several sequences in one.
        kept = torch.cat([numbers[None], kept[1:]])
        upcoming = torch.cat([numbers[None, :, -1:] + 1, upcoming[1:]])
    return kept, upcoming


def _sequence(
    padding: int,
    visual: torch.Tensor,
    layouts: Sequence[Layout],
    kept: torch.Tensor,
    pruned_by: Method | None,
) -> ShortenedSequence:
    # A sequence without a video has nothing to choose from.
    pruning = pruned_by.pruning() if pruned_by and len(kept) else None
    return ShortenedSequence(
        padding=padding,
        visual=visual + padding,  # counted with the padding, as the cache's slots are
        stats=DecodeStats(
            visual=sum(len(layout.index) for layout in layouts),
            visual_kept=len(kept),
            kept_by_video=kept_of_each(kept, layouts),
        ),
        selector=pruning.selector if pruning else None,
    )


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
    stacked = zip(tokens.deepstack, tail.deepstack, strict=True)
    encoded = Encoded(
        torch.cat([tokens.features, tail.embeddings]),
        tuple(torch.cat(layer) for layer in stacked),
    )
    return Prompt(ids[:, at], kinds, placeholders, (encoded,), preselection)


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


class DeepStack:
    """DeepStack embeddings and their places in shortened sequences.

    Args:
        places: `[B, R]`, bool: the tokens that are added to.
        stacked: for each of the first layers `[V, D]`: what is added behind it.
    """

    def __init__(self, places: torch.Tensor, stacked: list[torch.Tensor]) -> None:
        self._places, self._stacked = places, stacked

    def of_chunk(self, start: int, stop: int) -> DeepStack:
        """See `LayerInputs.of_chunk`."""
        places = self._places[:, start:stop]
        which = _numbers(self._places)[:, start:stop][places]
        return DeepStack(places, [values[which.to(values.device)] for values in self._stacked])

    def before_layer(self, state: GenerationState, number: int, arguments: Arguments) -> Arguments:
        """The input of a layer, with what is added behind the layer before it."""
        (hidden, *rest), kwargs = arguments
        return (self._added(hidden, number, state.left), *rest), kwargs

    def _added(self, hidden: torch.Tensor, layer: int, left: torch.Tensor | None) -> torch.Tensor:
        """Hidden states `[B, R, D]` or, behind in-LLM token pruning, of the tokens `left`."""
        if not 1 <= layer <= len(self._stacked):
            return hidden
        places, values = self._places, self._stacked[layer - 1]
        # The prune layer itself still gets all tokens, and drops them on its way in. Behind it
        # dropped visual tokens have no place, and their values are left out.
        if left is not None and hidden.shape[1] < places.shape[1]:
            values = values[torch.isin(places[0].nonzero().flatten(), left.to(places.device))]
            places = places[:, left.to(places.device)]
        hidden = hidden.clone()
        hidden[places.to(hidden.device)] += values.to(hidden)
        return hidden


class AddedByLayer(Stage):
    """Takes DeepStack out of the arguments of the text decoder, and adds it before its layers."""

    def __init__(self, model: Any) -> None:
        vision = getattr(model.config, "vision_config", None)
        self._stacked = len(getattr(vision, "deepstack_visual_indexes", None) or ())

    def layers(self) -> range:
        """It is added to the output of the first layers: that is the input of layers 1, 2, …"""
        return range(1, self._stacked + 1)

    def before_prefill(self, prefill: Prefill) -> None:
        """Take it out."""
        if _is_in(prefill.given):
            prefill.kwargs |= {DEEPSTACK: None, VISUAL_MASK: None}

    def after_selection(self, prefill: Prefill) -> None:
        """Keep that of the tokens that are read."""
        if not _is_in(prefill.given):
            return
        stacked, at = prefill.given[DEEPSTACK], prefill.at
        # `stacked` has a row for each visual token of the S, not for each token: its number there.
        number = _numbers(prefill.given[VISUAL_MASK]).to(at.device)
        places = torch.zeros(at.shape, dtype=torch.bool, device=at.device)
        for row, sequence in enumerate(prefill.state.sequences):
            places[row, sequence.visual.to(at.device)] = True
        which = number.gather(1, at)[places]
        deepstack = DeepStack(places, [values[which.to(values.device)] for values in stacked])
        prefill.state.layer_inputs.append(deepstack)


def _is_in(kwargs: dict[str, Any]) -> bool:
    return kwargs.get(DEEPSTACK) is not None and kwargs.get(VISUAL_MASK) is not None


def _numbers(places: torch.Tensor) -> torch.Tensor:
    """For each true place of `[B, R]` its number among them."""
    return (places.flatten().cumsum(0) - 1).view(places.shape)


def makes_own_masks(model: Any) -> bool:
    """Whether a model makes masks that aren't just causal."""
    return "create_masks_for_generate" in vars(type(model))


def prefills_whole(model: Any) -> bool:
    """Whether a model reads each prompt in one piece, whatever the method (`can_be_chunked`)."""
    return makes_own_masks(model) or bool(other_caches(model.get_decoder().config))


class OwnMasks(Stage):
    """Has a model make its mask again."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def after_selection(self, prefill: Prefill) -> None:
        """Put in the mask of the shortened prompts."""
        kwargs, types = prefill.kwargs, prefill.inputs.types
        kwargs["attention_mask"] = self._model.create_masks_for_generate(
            config=self._model.config,
            inputs_embeds=kwargs["inputs_embeds"],
            attention_mask=kwargs["attention_mask"],
            position_ids=kwargs["position_ids"],
            mm_token_type_ids=None if types is None else take(types, prefill.at),
            is_first_iteration=True,
            **{CACHE_ARGUMENT: cache_of(kwargs)},
        )
