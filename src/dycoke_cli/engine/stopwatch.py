"""Times the stages of one answer; waits for the accelerator before each reading."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TextStreamer


class Stopwatch:
    """Seconds since its making, read after all queued work is done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._now()

    def read(self) -> float:
        """Seconds since the start."""
        return self._now() - self._start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class TimedStreamer(TextStreamer):
    """Streams finished words, notes when the first token came, and counts tokens.

    Of a batch no words are streamed.

    Args:
        tokenizer: of the model.
        watch: the clock.
        on_text: called with each stretch of finished text.
        on_token: called with the number of tokens so far.
    """

    def __init__(
        self,
        tokenizer: Any,
        watch: Stopwatch,
        on_text: Callable[[str], None] | None,
        on_token: Callable[[int], None] | None,
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.first_token: float | None = None
        self._watch = watch
        self._on_text = on_text
        self._on_token = on_token
        self._tokens = -1  # the prompt comes first

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, then one token at a time."""
        self._tokens += 1
        if self._tokens == 1:
            self.first_token = self._watch.read()
        if len(value) == 1:
            super().put(value)
        if self._tokens and self._on_token is not None:
            self._on_token(self._tokens)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hand finished words on."""
        if text and self._on_text is not None:
            self._on_text(text)
