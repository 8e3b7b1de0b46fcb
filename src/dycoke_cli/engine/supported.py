"""Refuses, in a sentence, what an attached method would get silently wrong."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.private_api import attention_implementation
from dycoke_cli.errors import UsageError

_ATTACHED = "isn't supported with a compression method attached"


def check_decoder(decoder: Any, method: Method) -> None:
    """Check a method against a text decoder, before anything runs.

    Args:
        decoder: of the model.
        method: that is about to be attached.

    Raises:
        UsageError: layers that don't attend to the whole sequence, no such prune layer, choices
            both inside the language model and in decode, or a choice inside under FlexAttention.
    """
    config = decoder.config
    inside, pruning = method.inside(), method.pruning()
    if inside is not None and pruning is not None:
        raise UsageError(
            f"the method {method.name} chooses both inside the language model and in decode, which "
            "isn't supported yet"
        )
    # Its mask is compiled for one length, and without a mask it isn't causal.
    if inside is not None and attention_implementation(decoder) == "flex_attention":
        raise UsageError(
            f"flex_attention isn't supported with the method {method.name}; load the model with "
            "sdpa or flash_attention_2"
        )
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if others:
        kinds = ", ".join(sorted(others))
        raise UsageError(f"a language model with layers of the kind {kinds} {_ATTACHED} yet")
    layers, choice = config.num_hidden_layers, inside or pruning
    if choice is not None and choice.layer >= layers:
        raise UsageError(
            f"prune_layer must be between 1 and {layers - 1} for this model, which has {layers} "
            f"layers, not {choice.layer}"
        )


def check_prefill(kwargs: dict[str, Any]) -> None:
    """Check the arguments with which the text decoder is about to read a prompt.

    Raises:
        UsageError: several sequences, a cache that isn't fresh and dynamic, a ready-made mask,
            attention weights asked for.
    """
    if kwargs.get("inputs_embeds") is None:
        raise UsageError(f"a prompt without inputs_embeds at the text decoder {_ATTACHED}")
    if kwargs["inputs_embeds"].shape[0] != 1:
        raise UsageError(
            "one sequence at a time with a compression method attached: batches, num_beams and "
            "num_return_sequences above 1 aren't supported, for each row needs its own choice"
        )
    cache = kwargs.get("past_key_values")
    if kwargs.get("use_cache") is False:
        raise UsageError(f"generate() without a cache (use_cache=False) {_ATTACHED}")
    if cache is not None and (type(cache) is not DynamicCache or cache.offloading):
        raise UsageError(
            f"a {type(cache).__name__} as cache {_ATTACHED}; leave cache_implementation unset"
        )
    if cache is not None and cache.get_seq_length() > 0:
        raise UsageError(
            f"a prompt behind a cache that already holds tokens (a second turn, or "
            f"prefill_chunk_size) {_ATTACHED}; give the whole conversation as one prompt"
        )
    mask = kwargs.get("attention_mask")
    if mask is not None and (isinstance(mask, dict) or mask.dim() != 2):
        raise UsageError(f"a ready-made attention mask {_ATTACHED}; give the 2-D padding mask")
    if kwargs.get("output_attentions"):
        raise UsageError(f"output_attentions {_ATTACHED}")


def check_decode_step(kwargs: dict[str, Any]) -> None:
    """Check the arguments of a forward on a shortened sequence.

    Raises:
        UsageError: more than the one new token of one sequence.
    """
    embeds = kwargs.get("inputs_embeds")
    new = embeds if embeds is not None else kwargs["input_ids"]
    if new.shape[0] != 1:
        raise UsageError(f"more than one sequence on a shortened cache {_ATTACHED}")
    if new.shape[1] != 1:
        raise UsageError(
            "several tokens behind a shortened prompt (a second turn, prefill_chunk_size, "
            f"assisted generation or prompt lookup) {_ATTACHED}"
        )
