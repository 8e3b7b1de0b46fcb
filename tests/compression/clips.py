"""Features of made-up clips, and what references in plain Python need of them."""

from __future__ import annotations

import math
import struct

import torch

Frames = list[list[list[float]]]


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _moving() -> torch.Tensor:
    """A static clip over which one token moves."""
    frames = _noise(1, 9, 6).repeat(6, 1, 1)
    for frame in range(6):
        frames[frame, frame + 1] = torch.arange(6.0)
    return frames


CLIPS: dict[str, torch.Tensor] = {
    "noise": _noise(7, 12, 10),
    "drift": _noise(1, 10, 8) + 0.3 * _noise(9, 10, 8, seed=1).cumsum(0),
    "static": _noise(1, 11, 6, seed=2).repeat(5, 1, 1),
    "moving": _moving(),
    "equal tokens": torch.ones(4, 6, 5),
    "zeros": torch.zeros(3, 4, 4),
    "cut": torch.cat([_noise(1, 8, 6).repeat(3, 1, 1), _noise(1, 8, 6, seed=3).repeat(3, 1, 1)]),
    "one frame": _noise(1, 16, 8, seed=4),
    "two frames": _noise(2, 9, 8, seed=5),
    "one token": _noise(9, 1, 8, seed=6),
    "one channel": _noise(4, 5, 1, seed=7),
    "bfloat16": (4 + 0.1 * _noise(6, 10, 16, seed=8)).bfloat16(),
}

BUDGETS = (0.01, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0)


def floats(clip: str) -> Frames:
    """The features of a clip as lists of exact numbers."""
    return CLIPS[clip].double().tolist()


def single(number: float) -> float:
    """A number rounded to float32."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def norm(token: list[float]) -> float:
    return math.sqrt(math.fsum(x * x for x in token))


def cosine(a: list[float], b: list[float], eps: float = 1e-8) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (
        max(norm(a), eps) * max(norm(b), eps)
    )


def mean(tokens: list[list[float]]) -> list[float]:
    return [math.fsum(channel) / len(tokens) for channel in zip(*tokens, strict=True)]
