"""Name of the KV cache in the arguments and outputs of a stock forward.

It is `cache` from transformers 5.24 on, and `past_key_values` before. Model code may use the old
name on any release.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from transformers import GenerationMixin

CACHE_NAMES = ("cache", "past_key_values")
"""All names in use, the newer one first."""
_PARAMETERS = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters

CACHE_ARGUMENT = next(name for name in CACHE_NAMES if name in _PARAMETERS)
"""Name in the installed release."""


def cache_name(values: Mapping[str, Any]) -> str:
    """Name of the KV cache in `values`; the installed release's name if it has none."""
    return next((name for name in CACHE_NAMES if name in values), CACHE_ARGUMENT)


def cache_of(values: Mapping[str, Any]) -> Any:
    """KV cache in keyword arguments of a forward or in a stock output; None if there is none."""
    return values.get(cache_name(values))
