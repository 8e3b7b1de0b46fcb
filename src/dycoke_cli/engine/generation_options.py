"""Generation options; importing this doesn't import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dycoke_cli.errors import UsageError

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class GenerationOptions:
    """How an answer is generated.

    Args:
        max_new_tokens: maximum new tokens.
        temperature: of sampling; 0 is greedy.
        seed: of sampling; None takes a fresh one, which is reported.
        trace: record decode attention, for `Answer.trace`.

    Raises:
        UsageError: a value out of range; the sentence names the flag.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"--max-new-tokens must be 1 or more, not {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"--temperature must be 0 or more, not {self.temperature:g}")
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"--seed must be from 0 to {LARGEST_SEED}, not {self.seed}")
