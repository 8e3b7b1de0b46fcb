"""Generation options; importing this doesn't import torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GenerationOptions:
    """How an answer is generated.

    Args:
        max_new_tokens: maximum new tokens.
        temperature: of sampling; 0 is greedy.
        seed: of sampling; None takes a fresh one, which is reported.
        trace: record decode attention, for `Answer.trace`.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int | None = None
    trace: bool = False
