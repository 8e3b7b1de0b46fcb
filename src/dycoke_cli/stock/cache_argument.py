"""The KV cache among a stock forward's arguments and outputs, by the name that it has there.

transformers calls it `cache` from 5.24 on, and `past_key_values` before; code of a checkpoint's own
may use the old name under either.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from transformers import GenerationMixin

CACHE_NAMES = ("cache", "past_key_values")
"""All that it is called: the newer name first."""
_ASKED = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters

CACHE_ARGUMENT = next(name for name in CACHE_NAMES if name in _ASKED)
"""The name that the installed release's classes give it."""


def cache_name(values: Mapping[str, Any]) -> str:
    """The name that the KV cache has among these, or would have.

    Args:
        values: keyword arguments of a forward, or a stock output.
    """
    return next((name for name in CACHE_NAMES if name in values), CACHE_ARGUMENT)


def cache_of(values: Mapping[str, Any]) -> Any:
    """The KV cache among keyword arguments of a forward or in a stock output; None for none.

    Args:
        values: as of `cache_name`.
    """
    return values.get(cache_name(values))
