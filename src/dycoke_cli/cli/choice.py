"""From flags to what they choose: the frames to read, how to answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.video import Sampling

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class AnswerChoice:
    """How to answer.

    Raises:
        UsageError: a value out of range.
    """

    max_new_tokens: int
    temperature: float
    seed: int | None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"--max-new-tokens must be 1 or more, not {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"--temperature must be 0 or more, not {self.temperature:g}")
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"--seed must be from 0 to {LARGEST_SEED}, not {self.seed}")


def sampling(
    *,
    frames: int | None,
    fps: float | None,
    max_frames: int | None,
    start: str | None,
    end: str | None,
    stream: int | None,
) -> Sampling:
    """Which frames to read.

    Raises:
        UsageError: a value out of range, or two that contradict each other.
    """
    from dycoke_cli.video import Sampling, parse_time

    if frames is not None and fps is not None:
        raise UsageError("--frames and --fps exclude each other; use one of them")
    counted = {} if frames is None else {"frames": frames}
    return Sampling(
        **counted,
        fps=fps,
        max_frames=max_frames,
        start_s=None if start is None else parse_time(start),
        end_s=None if end is None else parse_time(end),
        stream=stream,
    )
