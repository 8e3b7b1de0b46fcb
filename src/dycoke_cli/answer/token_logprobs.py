"""Log-probabilities of an answer's tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenLogprob:
    """A token of an answer, and the likeliest ones in its place."""

    text: str  # that it adds to the answer
    logprob: float  # its log-probability, in nats
    # text and log-probability of each, the likeliest first
    likeliest: tuple[tuple[str, float], ...] = ()
