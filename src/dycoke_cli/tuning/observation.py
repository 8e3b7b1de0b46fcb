"""What was observed of a question under a setting; importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from dycoke_cli.engine.certainty import Certainty


@dataclass(frozen=True)
class Observation:
    """A question, asked with a setting.

    Args:
        question: its text.
        answer: the free greedy answer.
        same: whether its words are those of the uncompressed answer.
        divergence: mean over that answer's tokens of KL(uncompressed, compressed), in nats.
        certainty: of the free answer.
        visual: visual tokens before any are dropped.
        read: of those, at prefill.
        read_in_decode: of those, per decoding step (mean over steps and layers).
        seconds: prefill, and decode, of that answer.
    """

    question: str
    answer: str
    same: bool
    divergence: float
    certainty: Certainty
    visual: int
    read: int
    read_in_decode: float
    seconds: float
