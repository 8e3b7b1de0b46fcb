"""Refuses what would silently go wrong with a method attached."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from dycoke_cli.compression.method import Method, layer_prunings
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import attention_implementation, cache_of

_ATTACHED = "isn't supported with a compression method attached"
# By whether the selection is one of decoding steps.
_WAY_OUT = {
    True: "--no-kv-prune leaves temporal merging, which works",
    False: "--method dycoke --no-kv-prune works",
}
_SECOND_TURN = (
    "a prompt behind a cache that already holds tokens (a second turn, or prefill_chunk_size) "
    f"{_ATTACHED}; give the whole conversation as one prompt"
)


def check_decoder(decoder: Any, method: Method, *, decodes: bool = True) -> None:
    """Check a method against a text decoder, before anything runs; `decodes` as of `attach`."""
    config = decoder.config
    inside = layer_prunings(method, config.num_hidden_layers)
    pruning = method.pruning() if decodes else None
    if inside and pruning is not None:
        raise UsageError(
            f"the method {method.name} chooses both inside the language model and in decode, which "
            "isn't supported yet"
        )
    # Its mask is compiled for one length, and without a mask it isn't causal.
    if inside and attention_implementation(decoder) == "flex_attention":
        raise UsageError(
            f"flex_attention isn't supported with the method {method.name}; load the model with "
            "sdpa or flash_attention_2"
        )
    _check_weights_of_merged(decoder, method, drops_later=bool(inside) or pruning is not None)
    by_attention = inside or pruning is not None or method.reads_before
    if by_attention and (others := other_caches(config)):
        raise UsageError(
            f"the language model has layers that don't keep every token ({', '.join(others)}), so "
            f"there is little to choose from inside it; {_WAY_OUT[pruning is not None]}"
        )


def _check_weights_of_merged(decoder: Any, method: Method, *, drops_later: bool) -> None:
    """Check whether layers can weigh merged tokens: one number per token for all of them."""
    if not method.weighs_merged():
        return
    if drops_later:
        raise UsageError(
            f"the method {method.name} weighs merged tokens, which isn't supported with a "
            "selection that later layers get of an earlier one"
        )
    implementation = attention_implementation(decoder)
    if "flash" in implementation or "flex" in implementation:
        raise UsageError(
            f"proportional attention isn't supported with {implementation}, which takes no "
            "weights of tokens; load the model with sdpa"
        )
    if others := other_caches(decoder.config):
        raise UsageError(
            "proportional attention isn't supported with layers that don't keep every token "
            f"({', '.join(others)}); drop it"
        )


def other_caches(config: Any) -> list[str]:
    """What kinds of layers a text decoder has whose cache doesn't hold every token; [] for none.

    Sliding windows, linear attention, layers that share what others keep.
    """
    if all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers):
        return []
    named = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    return sorted(named) or ["sliding_attention"]


def check_cache(cache: Any) -> None:
    """Check the cache of a forward that doesn't go on with a prompt of this attachment."""
    if isinstance(cache, KVStore):
        raise UsageError(_SECOND_TURN)


def check_mask(mask: Any) -> None:
    """Check the attention mask that a model is called with."""
    if mask is not None and (isinstance(mask, dict) or mask.dim() != 2):
        raise UsageError(f"a ready-made attention mask {_ATTACHED}; give the 2-D padding mask")


def check_prefill(kwargs: dict[str, Any], method: Method, decoder: Any) -> None:
    """Check the arguments with which the text decoder is about to read prompts."""
    if kwargs.get("inputs_embeds") is None:
        raise UsageError(f"a prompt without inputs_embeds at the text decoder {_ATTACHED}")
    inside = layer_prunings(method, decoder.config.num_hidden_layers)
    if kwargs["inputs_embeds"].shape[0] != 1:
        if inside or method.reads_before:
            raise UsageError(f"the method {method.name} takes one sequence at a time, not a batch")
        # Each of its decoding steps would need a mask compiled anew.
        if "flex" in attention_implementation(decoder):
            raise UsageError(f"a batch under flex_attention {_ATTACHED}; load with sdpa")
    if kwargs.get("use_cache") is False:
        raise UsageError(f"generate() without a cache (use_cache=False) {_ATTACHED}")
    mask = kwargs.get("attention_mask")
    if inside and torch.is_tensor(mask) and mask.dim() == 4:
        raise UsageError(
            f"the method {method.name} doesn't work with a model whose frames see each other both "
            "ways; --method dycoke does"
        )
    cache = cache_of(kwargs)
    if cache is not None and (type(cache) is not DynamicCache or cache.offloading):
        raise UsageError(
            f"a {type(cache).__name__} as cache {_ATTACHED}; leave cache_implementation unset"
        )
    if cache is not None and cache.get_seq_length() > 0:
        raise UsageError(_SECOND_TURN)
    if kwargs.get("output_attentions"):
        raise UsageError(f"output_attentions {_ATTACHED}")


def check_decode_step(kwargs: dict[str, Any], batch: int, tokens: int) -> None:
    """Check the arguments of a forward that reads more tokens of each shortened sequence."""
    embeds = kwargs.get("inputs_embeds")
    new = embeds if embeds is not None else kwargs["input_ids"]
    if new.shape[0] != batch:
        raise UsageError(f"{new.shape[0]} sequences on a cache of {batch} {_ATTACHED}")
    if new.shape[1] != tokens:
        raise UsageError(
            "several tokens behind a shortened prompt (a second turn, prefill_chunk_size, "
            f"assisted generation or prompt lookup) {_ATTACHED}"
        )
