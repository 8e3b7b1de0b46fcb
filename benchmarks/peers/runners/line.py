"""What a runner is given, and the line of JSON that it prints; needs nothing but Python.

A runner answers the question twice: with a word about the first frames, for whatever is set up but
once, and with all tokens about the whole clip, which is measured.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

START = '{"answer": '
"""How the line begins: libraries print others."""
WARM_UP_FRAMES, WARM_UP_TOKENS = 4, 2


@dataclass(frozen=True)
class Task:
    """What to answer."""

    model: str  # folder of the checkpoint, in the program's own form
    clip: str  # .npy, `[F, H, W, 3]`, uint8
    times: list[float]  # seconds of each frame
    question: str  # asked
    tokens: int  # that the answer has
    threads: int  # that compute
    weights: str = "float32"  # or "bfloat16", "int8", "int4": what the program makes of them
    settings: dict[str, Any] = field(default_factory=dict)  # those of the row


@dataclass(frozen=True)
class Answer:
    """What was measured of one answer.

    Args:
        vision: seconds from frames to what the language model reads.
        prefill: seconds from there to the first token.
        token: seconds for each token after that.
        total: seconds for all of it.
        peak: bytes resident at the worst moment, weights included; None where Linux doesn't say.
        visual: tokens of the video that the language model read.
        text: other tokens of the prompt.
        written: tokens of the answer.
        version: of the program.
    """

    vision: float
    prefill: float
    token: float
    total: float
    peak: int | None
    visual: int
    text: int
    written: int
    version: str


def given() -> Task:
    """The task, from the command line."""
    return Task(**json.loads(sys.argv[1]))


def say(answer: Answer) -> None:
    """Print the line."""
    print(f"{START}{json.dumps(asdict(answer))}}}", flush=True)
