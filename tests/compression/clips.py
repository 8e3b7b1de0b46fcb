"""Features of made-up clips, and what references in plain Python need of them."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable
from typing import Any

import torch

from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.param import parameters_of

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


def given(clip: str) -> SelectionInputs:
    """A clip with attention (of which some is equal), keys and a question."""
    features = CLIPS[clip]
    frames, per_frame = features.shape[:2]
    seed = sorted(CLIPS).index(clip)
    attention = _noise(frames, per_frame, seed=seed).exp() / per_frame
    # Every third token has as much as the one before.
    attention[:, 1::3] = attention[:, 0::3][:, : attention[:, 1::3].shape[1]]
    keys = _noise(frames, per_frame, 5, seed=100 + seed)
    keys[:, 3::4] = keys[:, 2::4][:, : keys[:, 3::4].shape[1]]
    return SelectionInputs(
        features, attention, keys, _noise(3, features.shape[-1], seed=200 + seed)
    )


def random_given(features: torch.Tensor) -> SelectionInputs:
    """Features `[F, N, D]` with random attention, keys, question and attention to frames."""
    shape = features.shape[:2]
    return SelectionInputs(
        features,
        _noise(*shape, seed=1).exp(),
        _noise(*shape, 3),
        _noise(2, features.shape[-1]),
        _noise(shape[0], seed=2).exp(),
    )


def assert_selected(selection: Selection, kept: dict[int, list[float]]) -> None:
    """A selection is of these tokens, in reading order, with these features."""
    assert selection.kept.tolist() == sorted(kept)
    assert selection.features is not None
    expected = torch.tensor([kept[token] for token in sorted(kept)], dtype=torch.float64)
    torch.testing.assert_close(selection.features.double(), expected, atol=1e-9, rtol=1e-6)


def evenly_shared(total: int, parts: int) -> list[int]:
    """A number in parts that differ by one at most, the larger ones spread from the end."""
    return [(p + 1) * total // parts - p * total // parts for p in range(parts)]


def parts(total: int, sizes: list[int]) -> list[int]:
    """A number in parts that are in proportion to sizes."""
    ends = [sum(sizes[:i]) * total // sum(sizes) for i in range(len(sizes) + 1)]
    return [b - a for a, b in itertools.pairwise(ends)]


def side(size: int) -> int:
    """The height of the grid nearest to a square that has so many places."""
    return max(h for h in range(1, size + 1) if size % h == 0 and h * h <= size)


def peaks(tokens: list[list[float]], count: int, neighbors: int) -> list[int]:
    """The density peaks of tokens, ascending."""
    size, width = len(tokens), len(tokens[0])
    apart = [[single(math.dist(a, b) / math.sqrt(width)) for b in tokens] for a in tokens]
    density = [
        single(math.exp(-math.fsum(d * d for d in sorted(row)[:neighbors]) / neighbors))
        for row in apart
    ]
    scores = []
    for i in range(size):
        denser = [j for j in range(size) if (-density[j], j) < (-density[i], i)]
        away = min((apart[i][j] for j in denser), default=max(map(max, apart)))
        scores.append((-single(density[i] * away), i))
    return sorted(i for _, i in sorted(scores)[:count])


def nearest(tokens: list[list[float]], centers: list[int]) -> list[int]:
    """The center of each token, by their distance."""
    found = []
    for i, token in enumerate(tokens):
        apart = [(single(math.dist(token, tokens[c]) / math.sqrt(len(token))), c) for c in centers]
        found.append(i if i in centers else min(apart)[1])
    return found


def segments(frames: list, threshold: float, least: int) -> list[tuple[int, int]]:
    """Where a video is cut: where neighbours are unlike, and often enough."""
    means = [mean(frame) for frame in frames]
    alike = [single(cosine(a, b)) for a, b in zip(means[1:], means[:-1], strict=True)]
    cuts = {t for t, s in enumerate(alike) if s < threshold}
    for t in sorted(range(len(alike)), key=lambda t: (alike[t], t))[: least - 1]:
        cuts.add(t)
    ends = [0, *(t + 1 for t in sorted(cuts)), len(frames)]
    return [(a, b) for a, b in itertools.pairwise(ends)]


def components(near: list[list[int]]) -> list[list[int]]:
    """The connected components of a graph: of each number those that are linked to it."""
    left, found = set(range(len(near))), []
    while left:
        part, border = set[int](), {min(left)}
        while border:
            part |= border
            border = {j for i in border for j in near[i]} - part
        left -= part
        found.append(sorted(part))
    return found


def by_segments(
    frames: list, attention: list, retain: float, method: Any, of_segment: Callable[..., Any]
) -> dict[int, list[float]]:
    """The rule of a method that chooses in each segment alone, a token at a time."""
    size, found = len(frames[0]), {}
    counts = evenly_shared(max(1, int(len(frames) * size * retain)), len(frames))
    for a, b in segments(frames, method.segment_threshold, method.min_segments):
        part = of_segment(frames[a:b], attention[a:b], counts[a:b], method)
        found |= {a * size + at: token for at, token in part.items()}
    return found


BUDGETED = [name for name, method in METHODS.items() if "retain" in parameters_of(method)]

EARLY = [name for name in BUDGETED if "merge_stage" in parameters_of(METHODS[name])]

LEAST: dict[str, Callable[[int, int], int]] = {
    "evs": lambda frames, per_frame: per_frame,
    "vidcom2": lambda frames, per_frame: frames,
    "v-cast": lambda frames, per_frame: frames,
    "framefusion": lambda frames, per_frame: per_frame,
}
"""What a method keeps at least, by its own definition."""
