"""Log-probabilities of an answer's tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenLogprob:
    """A token of an answer, and the likeliest ones in its place.

    Args:
        text: that it adds to the answer.
        logprob: its log-probability, in nats.
        likeliest: text and log-probability of each, the likeliest first.
    """

    text: str
    logprob: float
    likeliest: tuple[tuple[str, float], ...] = ()
