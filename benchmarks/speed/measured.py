"""What is measured of an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One answer."""

    processor: float  # seconds from frames to what goes into the vision tower
    vision: float  # seconds from there to rows of the language model
    prefill: float  # seconds to the first token
    token: float  # seconds for each token after that
    total: float  # seconds for all of it
    peak: int | None  # bytes over the weights at the worst moment; None where it can't be measured
    visual: int  # tokens of the video that the language model read
    read: int  # bytes that the last token read: weights of the language model, keys and values
    written: int  # tokens of the answer
    # bytes at the worst moment, weights among them; None where it can't be measured
    peak_total: int | None
    loading: float  # seconds that loading the model took, once; not part of `total`

    @property
    def decode(self) -> float:
        """Seconds from the first token to the last."""
        return self.token * (self.written - 1)
