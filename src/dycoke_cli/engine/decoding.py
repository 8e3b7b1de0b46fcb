"""How an answer is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decoding:
    """The parameters of writing.

    Args:
        max_new_tokens: at most this many tokens are written.
        temperature: 0 is greedy; above, tokens are drawn.
        seed: of the draw; None takes a fresh one, which is reported.
        trace: take down what each decoding step looked at, for `Answer.trace`.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int | None = None
    trace: bool = False
