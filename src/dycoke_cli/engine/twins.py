"""Attention functions of ours beside stock ones, each under the stock name with a prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Attention = Callable[..., Any]


def twin(prefix: str, implementation: str, make: Callable[[Attention, str], Attention]) -> str:
    """Register the twin of an attention implementation, with its mask; return the twin's name.

    Eager attention isn't in the registry (each modelling file has its own); SDPA, which computes
    the same, takes its place.

    Args:
        prefix: of the name.
        implementation: the stock one.
        make: from the stock function and its name to ours.
    """
    name = prefix + implementation
    if name not in ALL_ATTENTION_FUNCTIONS:
        stock = "sdpa" if implementation == "eager" else implementation
        AttentionInterface.register(name, make(ALL_ATTENTION_FUNCTIONS[stock], stock))
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[stock])
    return name
