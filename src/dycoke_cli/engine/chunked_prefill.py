"""Chunked prefill, and a cache of the prefix that all questions about a video share.

The middle of an MLP is several times as wide as the hidden states that a layer reads: of a video of
128 frames in a model of 7 B, 1.3 GB, where the keys and values of the whole prompt take 0.7. A
chunk reads what came before from the cache. So all chunks but the last go through the text decoder
in a hook before its forward, and the last one is what that forward is called with.

Keys and values depend on what came before alone: up to the last visual token, they are the same for
every question about a video. The prefix cache holds them, and a later question begins behind them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.memory.flops import chunk_length
from dycoke_cli.engine.state import STATE_ARGUMENT, GenerationState, Prefill, Stage
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.kernels.attention import NAME, computes_sdpa, has_flash_attention
from dycoke_cli.kernels.tensor_files import tensor_hash
from dycoke_cli.models.families.layout import PER_TOKEN
from dycoke_cli.stock.private_api import attention_implementation, cache_of

# A question with and without compression (--compare) take turns.
MOST_STORED = 2

Entries = list[tuple[torch.Tensor, torch.Tensor]]


def has_own_attention(decoder: Any) -> bool:
    """Whether a text decoder computes attention in `dycoke_cli.kernels`."""
    return attention_implementation(decoder) == NAME


class PrefixCache:
    """Keys and values of prompts up to the last visual token, for each method that was used.

    Attributes:
        reused: tokens of the newest prompt that weren't computed again.
    """

    def __init__(self) -> None:
        self.reused = 0
        # By a hash of the inputs: a method that keeps other tokens, or another history in front of
        # the video, has other embeddings there.
        self._stored: OrderedDict[bytes, Entries] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was computed yet."""
        return not self._stored

    def restore(self, key: bytes, cache: Any) -> bool:
        """Fill a fresh KV cache with what was computed before; whether there was anything."""
        entries = self._stored.get(key)
        if entries is None:
            return False
        self._stored.move_to_end(key)
        # By the public way in: the cache copies them, and takes memory as for a chunk.
        for number, (keys, values) in enumerate(entries):
            cache.update(keys, values, number)
        return True

    def keep(self, key: bytes, cache: Any) -> None:
        """Keep what a KV cache holds, as it is: `[1, H, P, D]` a layer, in reading order."""
        self._stored[key] = [_entries(layer) for layer in cache.layers]
        while len(self._stored) > MOST_STORED:
            self._stored.popitem(last=False)


class ChunkedPrefill(Stage):
    """Prefills prompts in chunks.

    Args:
        prefix: of the video that the prompts are about: what is in it isn't computed again; None
            to prefill each prompt as a whole.
    """

    def __init__(self, prefix: PrefixCache | None = None) -> None:
        self._prefix = prefix

    def after_selection(self, prefill: Prefill) -> None:
        """Prefill all chunks but the last; the decoder's own forward gets that one.

        So its output has only that chunk's positions, which will do where the last logits are
        wanted.
        """
        decoder, kwargs = prefill.decoder, prefill.kwargs
        last_only = prefill.inputs.last_logits_only or self._prefix is not None
        if not last_only or prefill.is_positional or not can_be_chunked(decoder, kwargs):
            return
        batch, length, _ = kwargs["inputs_embeds"].shape
        visual = prefill.state.sequences[0].visual
        # Prompts of a batch have their videos at different places, behind different padding.
        prefix = self._prefix if batch == 1 and len(visual) else None
        flash = batch == 1 and _is_flash(decoder)
        if prefix is None and chunk_length(length, has_own_attention(decoder), flash) >= length:
            return
        cache = cache_of(kwargs)
        if isinstance(cache, KVStore):
            cache.expect_chunks()
        begin = 0
        if prefix is not None:
            # The text behind the video is never part of the prefix, so that at least one chunk,
            # with the logits that are wanted, is left for the caller.
            begin = int(visual[-1]) + 1
            key = _prefix_key(kwargs, begin)
            prefix.reused = begin if prefix.restore(key, cache) else 0
            if not prefix.reused:
                for chunk in _bounds(0, begin, decoder, flash):
                    decoder(**_chunk(kwargs, *chunk))
                prefix.keep(key, cache)
        *chunks, last = _bounds(begin, length, decoder, flash)
        for chunk in chunks:
            decoder(**_chunk(kwargs, *chunk))
        prefill.kwargs = _chunk(kwargs, *last)


def can_be_chunked(decoder: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a prompt can be prefilled in chunks: under a mask that is just causal."""
    mask = kwargs.get("attention_mask")
    return (
        kwargs.get("inputs_embeds") is not None
        and (mask is None or (torch.is_tensor(mask) and mask.dim() == 2))
        and kwargs.get("use_cache") is not False
        # What is asked of all positions would come of the last chunk alone.
        and not any(
            kwargs.get(name) or getattr(decoder.config, name, False)
            for name in ("output_hidden_states", "output_attentions")
        )
        # Each chunk would need a mask compiled anew.
        and "flex" not in attention_implementation(decoder)
        and not other_caches(decoder.config)
    )


def _is_flash(decoder: Any) -> bool:
    """Whether all attention to a prompt without padding is FlashAttention."""
    name = attention_implementation(decoder)
    devices = {weight.device for weight in decoder.parameters()}
    return (computes_sdpa(name) or "flash" in name) and all(
        has_flash_attention(device, decoder.dtype) for device in devices
    )


def _bounds(begin: int, end: int, decoder: Any, flash: bool) -> list[tuple[int, int]]:
    """First token of each chunk, and the one behind its last."""
    size = chunk_length(end - begin, has_own_attention(decoder), flash)
    return [(start, min(start + size, end)) for start in range(begin, end, size)]


def _chunk(kwargs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The arguments that prefill the tokens `start` … `stop` - 1, behind those before."""
    chunk = {
        name: kwargs[name][:, start:stop] for name in PER_TOKEN if kwargs.get(name) is not None
    }
    if kwargs.get("position_ids") is not None:
        chunk["position_ids"] = kwargs["position_ids"][..., start:stop]
    if kwargs.get("attention_mask") is not None:
        # Keys are those of all tokens so far, so the mask begins at the first token.
        chunk["attention_mask"] = kwargs["attention_mask"][:, :stop]
    state: GenerationState = kwargs[STATE_ARGUMENT]
    return kwargs | chunk | {STATE_ARGUMENT: state.of_chunk(start, stop)}


def _prefix_key(kwargs: dict[str, Any], length: int) -> bytes:
    """A digest of the first `length` tokens of a prompt, before the text decoder.

    Args:
        kwargs: of the text decoder: `inputs_embeds` [1, R, D], `position_ids` [..., 1, R] or None.
    """
    positions = kwargs.get("position_ids")
    # Keys of the layers depend on all of these: embeddings, positions, and what is added to logits.
    hashed = [kwargs["inputs_embeds"][:, :length]]
    if positions is not None:
        hashed.append(positions[..., :length])
    if (bias := kwargs[STATE_ARGUMENT].bias(length)) is not None:
        hashed.append(bias)
    return tensor_hash(hashed)


def _entries(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    attended = getattr(layer, "attended", None)
    if attended is None:  # a stock layer makes new tensors when it grows
        return layer.keys, layer.values
    # Ours are views of memory that the layer goes on writing to.
    keys, values = attended()
    return keys.clone(), values.clone()
