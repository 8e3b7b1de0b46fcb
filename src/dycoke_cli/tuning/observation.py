"""Observation of one question under one setting; doesn't import torch."""

from __future__ import annotations

from dataclasses import dataclass

from dycoke_cli.answer.guarantee import Certainty


@dataclass(frozen=True)
class Observation:
    """Answer to a question under a setting, compared with the uncompressed one.

    Args:
        question: text of the question.
        answer: the greedy answer, decoded freely (not forced to the uncompressed one).
        same: whether it has the same words as the uncompressed answer.
        divergence: KL(uncompressed, compressed) in nats, mean over uncompressed tokens.
        certainty: of the greedy answer.
        visual: visual tokens before compression.
        read: visual tokens at prefill.
        read_in_decode: visual tokens attended per decoding step (mean over steps and layers).
        seconds: prefill and decode of the greedy answer.
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
