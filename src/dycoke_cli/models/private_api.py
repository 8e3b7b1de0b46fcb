"""What is used of transformers without being documented, with the versions it was checked on.

- `transformers.initialization.no_init_weights`: 5.17.0, 5.23.0. Its name is public, but no page
  tells of it; without it a model is drawn at random, three to four times more slowly, before it is
  filled.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from transformers.initialization import no_init_weights


def without_initialisation() -> AbstractContextManager[Any]:
    """Within the block, stock models are built without weights being drawn or tied."""
    context: AbstractContextManager[Any] = no_init_weights()
    return context
