"""EarlyTom: frames that are alike are merged inside the vision tower; the rest by attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import Budgeted, shares
from dycoke_cli.compression.method import (
    FrameMerging,
    Need,
    Selection,
    SelectionInputs,
    into_itself,
    top,
)
from dycoke_cli.compression.similar import cosine_similarity, wide
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param

LAYERS, DEPTH = (8, 21, 23), 26
"""Behind which layers the authors merge, and how many SigLIP's tower has in LLaVA-OneVision."""

TOGETHER = 32
"""Frames that are merged among each other: of a longer video each 32 by themselves."""


@dataclass(frozen=True)
class EarlyTom(Budgeted):
    """EarlyTom (CVPR 2026): frames merged inside the vision tower, whose later layers are cheaper.

    Behind each of three layers of the tower (8, 21 and 23 of 26), frames are grouped by their
    hidden states, those merged before counting once. The similarity of two frames is the mean over
    patches of the cosine similarity. A group goes on as long as a moving average stays at
    `group_threshold` or above, and it has fewer than `max_window` frames: it starts at 1, and each
    frame adds `ema` of its similarity to the group's first frame to 1 - `ema` of what it was. The
    first and last frame of a group stay. Of those between, each in turn is merged with the next one
    where their similarity is above that of the first and the last, and above that of the next pair;
    the weights of the two are the similarities of this pair and of the next one (0 where that is
    negative or there is none, so that the last pair becomes its first frame). What is merged stands
    in the place of the earlier frame; the next frame to be merged is the one behind both. So equal
    frames aren't merged: none of them is more like another than the first is like the last.

    Behind the last of these layers, frames are grouped once more. The budget is shared equally
    among the frames that are left (give or take one). The first and last frame of a group keep the
    tokens with the most attention in the tower; the others are cut into as many windows of
    successive tokens as they keep, and each window keeps the token with the most. Ties go to the
    lower index. In a video of more than 32 frames each 32 are grouped by themselves: that many go
    through the tower together.

    Differs from the authors' code in the budget, which there is rounded up in some frames and to
    the nearest in others: here it is exact, and merging stops where the frames that are left have
    no more tokens than that. Theirs drops the last frame between the ends of a group where it isn't
    merged, which isn't copied. Their attention is that of the last of the three layers, in the mean
    of merged frames; here it is that of the last layer that is used, to the merged frames. There,
    all frames of a video are grouped together. Their code merges behind layers 6, 21 and 23, in
    groups of fewer than 8 frames; their scripts choose layers and threshold by benchmark and R, and
    groups of fewer than 6. Here they are the layers of one of these (VideoMME at R = .15 and .2),
    in proportion to the tower's, its groups, and the code's threshold. Their merging inside the
    language model isn't here.
    """

    name: ClassVar[str] = "earlytom"
    title: ClassVar[str] = "EarlyTom"
    summary: ClassVar[str] = "merges frames in the vision tower"
    paper: ClassVar[str | None] = "CVPR 2026"
    needs: ClassVar[tuple[Need, ...]] = ("attention",)

    group_threshold: Annotated[
        float,
        Param("Frames less similar than this start a new group.", at_least=-1, to=1),
    ] = 0.6
    max_window: Annotated[int, Param("A group has fewer frames than this.", at_least=2)] = 6
    ema: Annotated[
        float,
        Param(
            "Weight of each frame in the moving average of similarities that ends a group.",
            above=0,
            to=1,
        ),
    ] = 0.9

    def merge_frames(self) -> FrameMerging:
        """The groups, and what is merged in each."""
        parameters = (
            self.name,
            self.group_threshold,
            self.max_window,
            self.ema,
            self.retain,
        )
        return FrameMerging(parameters, TOGETHER, layers_of, self._merged, self._group_numbers)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens kept of the frames that are left."""
        assert inputs.attention is not None, "named in needs"
        frames, per_frame = inputs.features.shape[:2]
        left, groups = [*range(frames)], [*range(frames)]
        if inputs.merged is not None:
            left = [f for f, into in enumerate(inputs.merged.into) if f == into]
            groups = [inputs.merged.groups[f] for f in left]
        neighbors = zip([-1, *groups[:-1]], groups, [*groups[1:], -1], strict=True)
        between = [before == own == behind for before, own, behind in neighbors]
        quotas = shares(self.kept_tokens(frames, per_frame), len(left))
        kept = []
        for frame, is_between, quota in zip(left, between, quotas, strict=True):
            select = best_of_windows if is_between else top
            kept.append(frame * per_frame + select(inputs.attention[frame], quota))
        return Selection(torch.cat(kept), into=_into(torch.cat(kept), inputs))

    def _groups(self, alike: Callable[[int, int], float], frames: int) -> list[tuple[int, int]]:
        """The groups of frames: (first, the one behind the last)."""
        starts, average = [0], 1.0
        for frame in range(1, frames):
            average = self.ema * alike(starts[-1], frame) + (1 - self.ema) * average
            if average < self.group_threshold or frame - starts[-1] + 1 >= self.max_window:
                starts.append(frame)
                average = 1.0
        return list(pairwise([*starts, frames]))

    def _group_numbers(self, hidden: torch.Tensor) -> list[int]:
        groups = self._groups(_similarity(hidden), len(hidden))
        return [number for number, (start, stop) in enumerate(groups) for _ in range(start, stop)]

    def _merged(self, hidden: torch.Tensor, frames: int) -> tuple[torch.Tensor, list[int]]:
        alike = _similarity(hidden)
        spare = len(hidden) - max(1, math.ceil(frames * self.retain))
        merged: list[torch.Tensor] = []
        rows: list[int] = []
        for start, stop in self._groups(alike, len(hidden)):
            frame = start
            while frame < stop:
                weight = None
                if spare > 0 and start < frame < stop - 2:
                    weight = _weight(alike, start, stop, frame)
                rows.append(len(merged))
                if weight is None:
                    merged.append(hidden[frame])
                    frame += 1
                else:
                    first, second = wide(hidden[frame]), wide(hidden[frame + 1])
                    rows.append(len(merged))
                    merged.append((weight * first + (1 - weight) * second).to(hidden))
                    frame += 2
                    spare -= 1
        return torch.stack(merged), rows


def layers_of(depth: int) -> list[int]:
    """Behind which of the layers of a tower frames are merged; none behind the last."""
    scaled = (round((layer + 1) * depth / DEPTH) - 1 for layer in LAYERS)
    return sorted({min(max(layer, 0), depth - 2) for layer in scaled} if depth > 1 else ())


def _into(kept: torch.Tensor, inputs: SelectionInputs) -> torch.Tensor | None:
    """Of a frame that was merged, the tokens at the same places; None where none was."""
    if inputs.merged is None:
        return None
    frames, per_frame = inputs.features.shape[:2]
    itself = into_itself(kept, frames * per_frame).view(frames, per_frame)
    return itself[torch.tensor(inputs.merged.into, device=itself.device)].flatten()


def best_of_windows(scores: torch.Tensor, count: int) -> torch.Tensor:
    """In each of as many windows of successive tokens the one with the highest score.

    Args:
        scores: `[N]`, float.
        count: of windows, 0 … N; the first ones are longer by one where N isn't a multiple.

    Returns:
        `[count]`, int64, ascending.
    """
    at, begin = torch.zeros(count, dtype=torch.int64, device=scores.device), 0
    for window in range(count):
        length = len(scores) // count + (window < len(scores) % count)
        at[window] = begin + scores[begin : begin + length].argmax()
        begin += length
    return at


def _similarity(hidden: torch.Tensor) -> Callable[[int, int], float]:
    """The similarity of two frames of `hidden[F, P, D]`, as a number of float32."""

    @cache
    def alike(one: int, other: int) -> float:
        return float(wide(cosine_similarity(hidden[one], hidden[other])).mean().float())

    return alike


def _weight(alike: Callable[[int, int], float], start: int, stop: int, frame: int) -> float | None:
    """How much of a frame is in what it and the next one become; None where they aren't merged."""
    now = alike(frame, frame + 1)
    if now <= alike(start, stop - 1):
        return None
    if frame + 2 == stop - 1:  # the next pair would reach the group's last frame
        return 1.0
    following = alike(frame + 1, frame + 2)
    if now <= following:
        return None
    return now / (now + max(0.0, following)) if now > 0 else 1.0
