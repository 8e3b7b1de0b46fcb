"""Removes the tokens that a method drops from the inputs of the text decoder."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.selection import Selection
from dycoke_cli.engine.call import CALL_ARGUMENT, Call, ShortenedSequence
from dycoke_cli.engine.deepstack import without_deepstack
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.kv_cache.indexed import IndexedStore
from dycoke_cli.engine.model_inputs import arguments_at
from dycoke_cli.engine.selecting import Prompts
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.token_pruning import TokenPruning
from dycoke_cli.engine.trace import DecodeStats
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout
from dycoke_cli.stock.private_api import cache_name, cache_of


def shorten(
    kwargs: dict[str, Any],
    prompts: Prompts,
    selections: Sequence[Selection],
    method: BoundMethod,
    config: Any,
    *,
    make_mask: Callable[[dict[str, Any], torch.Tensor], Any] | None = None,
) -> tuple[dict[str, Any], Call]:
    """Drop what the method doesn't keep from everything that has one value per token.

    Args:
        kwargs: of the text decoder: `inputs_embeds` [B, S, D], `position_ids` [..., B, S] or None,
            and what else `model_inputs.PER_TOKEN` names.
        prompts: the same S tokens of each sequence, as `selections` were made from.
        selections: of the method, for each sequence; features of theirs take the place of those
            of the tokens kept.
        method: what else it asks for.
        config: of the text decoder.
        make_mask: makes the decoder's attention mask from its other arguments and the tokens
            `[B, R]` that are read; None where the decoder makes its own from the padding.

    Returns:
        The arguments of the shortened prefill, and what its decoding steps need. Sequences that
        end up shorter than the longest are padded left. A `KVStore` takes the place of the cache,
        unless there are layers that don't keep every token: to those a shortened prompt is just
        a shorter one.
    """
    embeds = kwargs["inputs_embeds"]
    uncompressed = embeds.shape[1]
    stays, layouts = prompts.stays, prompts.joined
    # Indices are made on the CPU: their lengths decide shapes, and each would wait for the device.
    kept = [selection.kept.cpu() for selection in selections]
    read = [tokens_to_read(stays[i], layout, kept[i]) for i, layout in enumerate(layouts)]
    # Each prompt loses as many tokens as its own selection drops, so that the shortest gets the
    # most padding in front. There it repeats token 0, which `keep` masks.
    length = max(len(tokens) for tokens, _ in read)
    paddings = [length - len(tokens) for tokens, _ in read]
    at = torch.stack(
        [torch.nn.functional.pad(t, (p, 0)) for (t, _), p in zip(read, paddings, strict=True)]
    )
    keep = None
    if any(paddings):
        keep = torch.arange(length) >= torch.tensor(paddings)[:, None]
        keep = keep.to(embeds.device)
    positions, upcoming = _positions(kwargs, stays, at.to(embeds.device), keep, method)

    sequences = [
        _sequence(padding, visual, layout, chosen, method)
        for padding, (_, visual), layout, chosen in zip(paddings, read, layouts, kept, strict=True)
    ]
    # Not the count of tokens that may stand in front of time, height and width.
    largest = upcoming.reshape(-1, len(sequences))[-3:].amax(0).tolist()  # one copy from the device
    for sequence, position in zip(sequences, largest, strict=True):
        sequence.stats.next_position = position
    visual = [s.visual for s in sequences]
    kwargs, deepstack = without_deepstack(kwargs, at.to(embeds.device), visual)
    pruning = method.decode_pruning
    # Sequences with too few visual tokens aren't pruned. If none is, every layer stores its entries
    # in reading order, as without pruning.
    if not any(s.is_pruned for s in sequences):
        pruning = None
    bias = _bias(method, selections, sequences, length, embeds)
    store = None
    if not other_caches(config):
        sizes = {
            "layers": config.num_hidden_layers,
            "paddings": paddings,
            "visual": visual,
            "length": length,
            "uncompressed_length": uncompressed,
            "first_pruned": pruning.layer if pruning else None,
            "dp_cache": pruning.dp_cache if pruning else "device",
            "bias": bias,
        }
        if pruning is None or pruning.own is None:
            store = KVStore(**sizes)
        else:
            counts = [len(s.visual) if s.selected is None else s.selected for s in sequences]
            store = IndexedStore(selector=pruning.own, counts=counts, **sizes)
    call = Call(
        sequences=sequences,
        next_positions=upcoming,
        keep=keep,
        cache=None if store is None else weakref.ref(store),
        layer=pruning.layer - 1 if pruning and pruning.selector else None,
        token_pruning=(
            None if method.inside is None else TokenPruning(method.inside, visual[0], length)
        ),
        deepstack=deepstack,
    )
    gathered = arguments_at(kwargs, at)
    embeddings = gathered["inputs_embeds"]
    for number, (places, selection) in enumerate(zip(visual, selections, strict=True)):
        if selection.features is not None:
            # Not into `embeddings[number]`, which autograd doesn't let anyone write to.
            embeddings[number, places.to(embeddings.device)] = selection.features.to(embeddings)
    shortened = (
        kwargs
        | gathered
        | {
            "position_ids": positions,
            "attention_mask": keep,
            CALL_ARGUMENT: call,
        }
    )
    # generate() made an empty cache, which is replaced. A bare forward may come without one; the
    # call is found again by its cache, so it gets one.
    if store is not None:
        shortened[cache_name(kwargs)] = store
    elif cache_of(kwargs) is None:
        shortened[cache_name(kwargs)] = DynamicCache(config=config)
    if make_mask is not None:
        shortened["attention_mask"] = make_mask(shortened, at.to(embeds.device))
    return shortened, call


def _bias(
    method: BoundMethod,
    selections: Sequence[Selection],
    sequences: Sequence[ShortenedSequence],
    length: int,
    like: torch.Tensor,
) -> torch.Tensor | None:
    """What is added to the attention logits of the tokens `[B, R]` that are read; None for nothing.

    Each sequence gets what is added to its visual tokens.

    Args:
        like: prompts, `[B, S, D]`: on their device, and no narrower than they are.
    """
    of_each = [method.attention_bias(selection) for selection in selections]
    if all(added is None for added in of_each):
        return None
    # In float32 at least, in which key indexes score; elsewhere it is rounded where it is added.
    wide = torch.promote_types(like.dtype, torch.float32)
    bias = torch.zeros(len(sequences), length, dtype=wide, device=like.device)
    for number, (sequence, added) in enumerate(zip(sequences, of_each, strict=True)):
        if added is not None:
            sequence.bias = added.to(bias)
            bias[number, sequence.visual.to(bias.device)] = sequence.bias
    return bias


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
    method: BoundMethod,
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
    if method.renumbers:
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
    layout: Layout | None,
    kept: torch.Tensor,
    method: BoundMethod,
) -> ShortenedSequence:
    pruning = method.pruning()  # a selector of its own
    # A sequence without a video has nothing to choose from.
    if pruning is not None and len(kept) < max(1, pruning.least):
        pruning = None
    return ShortenedSequence(
        padding=padding,
        visual=visual + padding,  # counted with the padding, as the cache's slots are
        stats=DecodeStats(visual=0 if layout is None else len(layout.index), visual_kept=len(kept)),
        selector=pruning.selector if pruning else None,
        selected=method.attended_tokens(len(kept)) if pruning and pruning.own else None,
    )
