"""What is measured of an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One answer.

    Args:
        processor: seconds from frames to what goes into the vision tower.
        vision: seconds from there to rows of the language model.
        prefill: seconds to the first token.
        token: seconds for each token after that.
        total: seconds for all of it.
        peak: bytes over the weights at the worst moment; None where it can't be measured.
        visual: tokens of the video that the language model read.
        read: bytes that the last token read: weights of the language model, keys and values.
        written: tokens of the answer.
        peak_total: bytes at the worst moment, weights among them; None where it can't be measured.
        loading: seconds that loading the model took, once; not part of `total`.
    """

    processor: float
    vision: float
    prefill: float
    token: float
    total: float
    peak: int | None
    visual: int
    read: int
    written: int
    peak_total: int | None
    loading: float

    @property
    def decode(self) -> float:
        """Seconds from the first token to the last."""
        return self.token * (self.written - 1)
