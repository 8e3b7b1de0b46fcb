"""In place of faster-whisper: it hears tones, and says how high they are.

Processes that tests start find it by PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

RATE = 16_000
UNCLEAR = 3000
"""A tone above so many hertz isn't understood, and one above twice as many is no speech."""


class WhisperModel:
    """A model of English and German; a high voice speaks German."""

    supported_languages = ("en", "de")

    def __init__(self, folder: str, device: str, **how: Any) -> None:
        assert (device, how["compute_type"]) == ("cpu", "int8")
        if (Path(folder) / "model.bin").read_bytes() == b"broken":
            raise RuntimeError("Unsupported model binary version")

    def transcribe(
        self, sound: np.ndarray, language: str | None, **how: Any
    ) -> tuple[Iterator[SimpleNamespace], SimpleNamespace]:
        assert sound.dtype == np.float32
        assert len(sound) <= 30 * RATE
        strongest = np.argmax(np.abs(np.fft.rfft(sound))) * RATE / len(sound)
        hertz = round(strongest / 100) * 100
        found = language or ("de" if hertz > 1500 else "en")
        one = SimpleNamespace(
            start=0.0,
            end=30.0,  # as of a model that fills up its half minute
            text=f"  a tone of\n{hertz} hertz, {found}\x1b ",
            avg_logprob=-1.5 if UNCLEAR < hertz <= 2 * UNCLEAR else -0.3,
            compression_ratio=3.0 if hertz > 2 * UNCLEAR else 1.2,
        )
        return iter([one]), SimpleNamespace(language=found, language_probability=0.9)
