"""How sure a model was of an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Certainty:
    """How sure a model was of an answer.

    Args:
        least_probability: the smallest probability that a token of it had.
        least_margin: the smallest lead of a token's probability over that of the second.
        mean_log_probability: of its tokens.
    """

    least_probability: float
    least_margin: float
    mean_log_probability: float
