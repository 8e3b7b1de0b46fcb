"""How long an answer would take on this machine's CPU, from the times of its parts.

Products and attention are counted by tokens; what is around them counts by its calls, which are
most of a small model's time. Kernels are timed apart from each other (`kernel_rates.py`), so what
lies between them is missing. Importing this doesn't import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MEASURING_S = 5.0
"""After so long an estimate times no further kernel."""
BUSY = "the machine is busy, so the time is rough"
"""Warning of an estimate whose times were measured meanwhile, and aren't stored."""
TOO_BUSY = f"the machine is busy, and not all kernels were timed within {MEASURING_S:g} s"
UNFINISHED = (
    f"not all kernels were timed within {MEASURING_S:g} s; the next estimate times the rest"
)
# What is around the products, as calls of a tiny layer: of all, and of each layer. Measured with
# the bundled model, of whose time it is most.
_VISION_CALLS, _PROMPT_CALLS, _PROMPT_LAYER_CALLS = 200, 1200, 60
_STEP_CALLS, _STEP_LAYER_CALLS = 250, 30


@dataclass(frozen=True)
class Rates:
    """Seconds of the parts of an answer."""

    call: float  # of a tiny layer
    layers: int  # of the language model
    vision_layers: int  # of the vision tower
    patch: float  # linear layers of the tower
    # its attention, of each patch to each of its frame; None where its sizes aren't known
    patch_pair: float | None
    token: float  # linear layers of the language model, in a prompt
    score: float  # of its attention, in all layers, of a query to a key before it
    block: int  # queries that attend together, to all keys up to the last of them
    logits: float  # of one token
    step: float  # linear layers of a decoding step
    attended: float  # its attention, for each token attended to
    rough: bool = False  # whether the machine was busy while they were measured

    def vision(self, frames: int, patches: int, together: int) -> float | None:
        """Seconds of the vision tower."""
        if self.patch_pair is None:
            return None
        passes = math.ceil(frames / max(1, together // max(1, patches)))
        each = patches * self.patch + patches**2 * self.patch_pair
        around = passes * (_VISION_CALLS + self.vision_layers * _PROMPT_LAYER_CALLS) * self.call
        return frames * each + around

    def prefill(self, tokens: float, chunk_len: int) -> float:
        """Seconds of the prompt."""
        passes = math.ceil(tokens / chunk_len)
        around = (_PROMPT_CALLS + passes * self.layers * _PROMPT_LAYER_CALLS) * self.call
        scores = causal_scores(tokens, self.block) * self.score
        return tokens * self.token + scores + self.logits + around

    def decode(self, steps: int, attended: float) -> float:
        """Seconds of so many decoding steps, each attending to so many tokens, mean over layers."""
        around = (_STEP_CALLS + self.layers * _STEP_LAYER_CALLS) * self.call
        return steps * (self.step + attended * self.attended + around)


def causal_scores(tokens: float, block: int) -> float:
    """Scores of a prompt's attention, where `block` queries attend to all keys up to their last."""
    return tokens * (tokens + min(tokens, block)) / 2
