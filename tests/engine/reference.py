"""DyCoke's two stages by loops, from the paper: they share no code with `dycoke_cli`."""

from __future__ import annotations

import math

import torch


def merge(features: torch.Tensor, ratio: float, window: int = 4) -> list[int]:
    """TTM: features [F, N, D] -> flat indices that stay, in reading order."""
    frames, per_frame, _ = features.shape
    stay = int((1 - ratio) * per_frame)
    kept: list[int] = []
    for frame in range(frames):
        start, offset = frame - frame % window, frame % window
        if offset == 0:
            kept += range(frame * per_frame, (frame + 1) * per_frame)
            continue
        least = _least_like(features, frame, frame - 1 if offset % 2 else start)[:stay]
        kept += sorted(frame * per_frame + n for n in least)
    return kept


def published_merge(features: torch.Tensor, ratio: float) -> list[int]:
    """TTM as the published loops run: order of rising similarity, an odd last frame dropped."""
    frames, per_frame, _ = features.shape
    stay = int((1 - ratio) * per_frame)
    compared = {start + 1: start for start in range(0, frames - 1, 2)}
    compared |= {start + 2: start for start in range(0, frames - 4, 4)}
    kept: list[int] = []
    for frame in range(frames - frames % 2):
        own = [*range(per_frame)]
        if frame in compared:
            own = _least_like(features, frame, compared[frame])[:stay]
        kept += [frame * per_frame + n for n in own]
    return kept


def _least_like(features: torch.Tensor, frame: int, other: int) -> list[int]:
    """The places of a frame, those that are least like the same place of another one first."""
    scored = []
    for n in range(features.shape[1]):
        a, b = features[frame, n].double(), features[other, n].double()
        # As a float32 number: equal pairs tie, and the lower position stays.
        scored.append((float((a @ b / (a.norm() * b.norm())).float()), n))
    return [n for _, n in sorted(scored)]


def top(attention: list[float], count: int) -> list[int]:
    """The indices of the `count` largest, ascending; the lower index wins a tie."""
    ranked = sorted(range(len(attention)), key=lambda i: (-attention[i], i))
    return sorted(ranked[:count])


def cosine(a: list[float], b: list[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.hypot(*a) * math.hypot(*b))


class Selector:
    """Dynamic KV pruning: which visual tokens each decoding step attends to."""

    def __init__(
        self, ratio: float, threshold: float = 0.9, recall: bool = True, published: bool = False
    ) -> None:
        self.ratio, self.threshold, self.recall, self.published = (
            ratio,
            threshold,
            recall,
            published,
        )
        self.reference: list[float] = []
        self.active: list[int] | None = None
        self.reselections = 0

    def step(self, attention: list[float]) -> list[int]:
        """The tokens of a step, by its attention to each."""
        if self.published:
            return self._published_step(attention[:-1])
        if self.active is not None:
            if not self.recall:
                return self.active
            if self.threshold < 1 and cosine(attention, self.reference) >= self.threshold:
                return self.active
            self.reselections += 1
        self.reference = attention
        self.active = top(attention, int(len(attention) * (1 - self.ratio)))
        return self.active

    def _published_step(self, scored: list[float]) -> list[int]:
        """Compared with the step before, and near it the whole cache; the last token stays."""
        before, self.reference = self.reference, scored
        if before and cosine(scored, before) >= self.threshold:
            return [*range(len(scored) + 1)]
        self.reselections += bool(before)
        return [*top(scored, int(len(scored) * (1 - self.ratio))), len(scored)]
