"""Attention of a model: whether it takes weights of tokens, and whether its cache has them all."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


def takes_weights(implementation: str) -> bool:
    """Whether an attention takes a float mask, which gives each token a weight.

    Args:
        implementation: name in transformers' registry of attention functions.
    """
    return "flash" not in implementation and "flex" not in implementation


def other_caches(config: Any) -> list[str]:
    """What kinds of layers a text decoder has whose cache doesn't hold every token; [] for none.

    Sliding windows, linear attention, layers that share what others keep.

    Args:
        config: of the text decoder.
    """
    if all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers):
        return []
    named = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    return sorted(named) or ["sliding_attention"]
