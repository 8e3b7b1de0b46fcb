"""In place of its voice activity filter: whatever is loud is speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE = 16_000


@dataclass
class VadOptions:
    min_silence_duration_ms: int
    max_speech_duration_s: float


def get_speech_timestamps(sound: np.ndarray, options: VadOptions) -> list[dict[str, int]]:
    """Loud stretches; those that less than a silence parts are one, and long ones are divided."""
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    if not len(loud):
        return []
    silence = options.min_silence_duration_ms * RATE // 1000
    starts = [loud[0], *loud[1:][np.diff(loud) > silence]]
    ends = [*loud[:-1][np.diff(loud) > silence], loud[-1]]
    longest = int(options.max_speech_duration_s * RATE)
    return [
        {"start": int(begin), "end": int(min(begin + longest, end + 1))}
        for start, end in zip(starts, ends, strict=True)
        for begin in range(start, end + 1, longest)
    ]
