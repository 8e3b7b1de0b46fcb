"""The private attributes of transformers that are used, with the versions they were checked on.

- `config._attn_implementation` (read only; set through the public `set_attn_implementation`):
  5.17.0, 5.23.0. There is no public getter.
"""

from __future__ import annotations

from typing import Any


def attention_implementation(module: Any) -> str:
    """The name of the attention implementation that a model runs with."""
    return module.config._attn_implementation
