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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import DynamicCache

from dycoke_cli.engine.chunks import chunk_length, free_for_passes, token_room
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.model_inputs import arguments_of_chunk
from dycoke_cli.engine.other_inputs import deepstack_of_chunk
from dycoke_cli.engine.stage import Prefill, Stage
from dycoke_cli.engine.state import STATE_ARGUMENT, GenerationState
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.thread_hook import Arguments, before_forward
from dycoke_cli.kernels.attention import NAME, computes_sdpa
from dycoke_cli.kernels.tensor_files import tensor_hash
from dycoke_cli.stock.attention import SDPA
from dycoke_cli.stock.private_api import attention_implementation, cache_of
from dycoke_cli.stock.sizes import Sizes

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

    Attributes:
        running: whether a chunk is being prefilled; hooks before the decoder leave it as it is.

    Args:
        prefix: of the video that the prompts are about: what is in it isn't computed again; None
            to prefill each prompt as a whole.
    """

    def __init__(self, prefix: PrefixCache | None = None) -> None:
        self.running = False
        self._prefix = prefix

    def after_selection(self, prefill: Prefill) -> None:
        """Prefill all chunks but the last; the decoder's own forward gets that one.

        So its output has only that chunk's positions, which will do where the last logits are
        wanted.
        """
        last_only = prefill.inputs.last_logits_only or self._prefix is not None
        if last_only and not prefill.is_positional:
            visual = length_up_to(prefill.state.sequences[0].visual)
            prefill.kwargs = self.up_to_last(prefill.decoder, prefill.kwargs, visual)

    def up_to_last(self, decoder: Any, kwargs: dict[str, Any], visual: int) -> dict[str, Any]:
        """Prefill a prompt up to its last chunk; return the arguments for that one.

        Args:
            kwargs: with which it is about to read the whole prompt, `[B, R, D]`.
        """
        batch, length, _ = kwargs["inputs_embeds"].shape
        # Prompts of a batch have their videos at different places, behind different padding.
        alone = batch == 1
        prefix = self._prefix if alone and visual > 0 else None
        room = _token_room(decoder, batch, length)
        long = chunk_length(length, has_own_attention(decoder), room) < length
        if not can_be_chunked(decoder, kwargs) or not (prefix or long):
            return kwargs
        cache = cache_of(kwargs)
        if isinstance(cache, KVStore):
            cache.expect_chunks()
        begin = 0
        if prefix is not None:
            # The text behind the video is never part of the prefix, so that at least one chunk,
            # with the logits that are wanted, is left for the caller.
            begin, key = visual, _prefix_key(kwargs, visual)
            prefix.reused = visual if prefix.restore(key, cache) else 0
            if not prefix.reused:
                self._run(decoder, kwargs, _bounds(0, visual, decoder, room))
                prefix.keep(key, cache)
        *chunks, last = _bounds(begin, length, decoder, room)
        self._run(decoder, kwargs, chunks)
        return _chunk(kwargs, *last)

    def _run(self, decoder: Any, kwargs: dict[str, Any], chunks: list[tuple[int, int]]) -> None:
        # The decoder is called within its own hook, which sees these calls, too: see `running`.
        self.running = True
        try:
            for chunk in chunks:
                decoder(**_chunk(kwargs, *chunk))
        finally:
            self.running = False


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


@contextmanager
def chunked_prefill(
    model: Any, prefix: PrefixCache | None = None, placeholders: torch.Tensor | None = None
) -> Iterator[None]:
    """Within the block, this thread's `generate()` without a method prefills in chunks.

    Args:
        model: a stock model.
        prefix: of the video that the prompts are about, or None.
        placeholders: `[B, S]`, bool: where it is; None where that isn't known.
    """
    chunks = ChunkedPrefill(prefix)
    visual = 0 if placeholders is None else length_up_to(placeholders[0].nonzero().flatten())

    def before_decoder(
        module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments | None:
        cache = cache_of(kwargs)
        # A chunk of ours, a cache of another kind, or a decoding step: none of them is a prompt.
        if chunks.running or args or type(cache) is not DynamicCache or cache.get_seq_length():
            return None
        return args, chunks.up_to_last(module, kwargs, visual)

    hook = before_forward(model.get_decoder(), before_decoder)
    try:
        yield
    finally:
        hook.remove()


def length_up_to(tokens: torch.Tensor) -> int:
    """How many tokens there are up to the last of these, `[V]`, ascending; 0 for none."""
    return int(tokens[-1]) + 1 if len(tokens) else 0


def _token_room(decoder: Any, batch: int, length: int) -> float:
    """How many tokens of each prompt a GPU has room for in a layer; 0 on other devices."""
    name = attention_implementation(decoder)
    if not (computes_sdpa(name) or "flash" in name):
        return 0  # its scores, which grow with the square of a chunk, are in memory
    devices = {weight.device for weight in decoder.parameters()}
    free = min((free_for_passes(device, decoder.dtype) for device in devices), default=0)
    # Padding is a mask; without it only stock code makes one for chunks.
    masked = batch > 1 or name == SDPA
    dtype_bytes = decoder.dtype.itemsize
    return token_room(Sizes.of(decoder.config), dtype_bytes, free, length, batch, masked)


def _bounds(begin: int, end: int, decoder: Any, room: float) -> list[tuple[int, int]]:
    """First token of each chunk, and the one behind its last."""
    size = chunk_length(end - begin, has_own_attention(decoder), room)
    return [(start, min(start + size, end)) for start in range(begin, end, size)]


def _chunk(kwargs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The arguments that prefill the tokens `start` … `stop` - 1, behind those before."""
    state: GenerationState | None = kwargs.get(STATE_ARGUMENT)
    return (
        kwargs
        | arguments_of_chunk(kwargs, start, stop)
        | deepstack_of_chunk(kwargs, start, stop)
        | ({} if state is None else {STATE_ARGUMENT: state.of_chunk(start, stop)})
    )


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
    state: GenerationState | None = kwargs.get(STATE_ARGUMENT)
    if state is not None and (bias := state.bias(length)) is not None:
        hashed.append(bias)
    return tensor_hash(hashed)


def _entries(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    attended = getattr(layer, "attended", None)
    if attended is None:  # a stock layer makes new tensors when it grows
        return layer.keys, layer.values
    # Ours are views of memory that the layer goes on writing to.
    keys, values = attended()
    return keys.clone(), values.clone()
