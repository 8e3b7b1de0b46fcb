"""The choice of `--fit`: the frames, method and weights that lose least within a budget.

A pure function of what each combination costs. `CostModel` predicts that; here is no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.json_schema import Amount, Count, Doc
from dycoke_cli.compression.base import Method
from dycoke_cli.models.load_options import LoadOptions

SECONDS_RESERVE = 1.1
"""Factor over predicted seconds: repeated runs of the same answer differ by about as much."""
HALVED_FRAMES = 6.2
"""Points of accuracy lost by half the frames: 12.4 by a quarter (`uniform-frames` at 25 %,
docs/results.md, model tokens-64)."""


@dataclass(frozen=True)
class Budget:
    """Upper bounds of an answer; None is no bound."""

    bytes: int | None = None  # of the device's memory, weights included; on a CPU of the process
    # of vision, prefill and decode, without loading and without reading the video
    seconds: float | None = None

    def __str__(self) -> str:
        """As `--fit` takes it."""
        size = None if self.bytes is None else f"{self.bytes / 1e9:g}GB"
        time = None if self.seconds is None else f"{self.seconds:g}s"
        return ",".join(bound for bound in (size, time) if bound is not None)

    def holds(self, costs: StageCosts) -> bool:
        """Whether an answer keeps all bounds, with the reserves, and fits into the context."""
        return costs.in_context and self.holds_bytes(costs) and self.holds_seconds(costs)

    def holds_bytes(self, costs: StageCosts) -> bool:
        """Whether an answer keeps the bound of memory."""
        return self.bytes is None or costs.bytes <= self.bytes

    def holds_seconds(self, costs: StageCosts) -> bool:
        """Whether an answer keeps the bound of time; not if its time isn't known."""
        if self.seconds is None:
            return True
        return costs.seconds is not None and costs.seconds * SECONDS_RESERVE <= self.seconds


@dataclass(frozen=True)
class EstimatedSeconds:
    """Time on this machine, from measured kernels."""

    vision: Annotated[float | None, Doc("Null where it isn't known.", minimum=0)]
    prefill: Amount
    decode: Annotated[Amount, Doc("Of max_new_tokens.")]

    @property
    def answering(self) -> float:
        """Of prefill and decode."""
        return self.prefill + self.decode

    @property
    def total(self) -> float | None:
        """Of all stages, where all are known."""
        return None if self.vision is None else self.vision + self.answering


@dataclass(frozen=True)
class StageCosts:
    """What an answer takes."""

    bytes: int  # memory at the peak, with the reserve
    stages: EstimatedSeconds | None = None  # their times; None if unknown
    in_context: bool = True  # whether prompt and answer fit into the model's context

    @property
    def seconds(self) -> float | None:
        """Of all stages; None if one isn't known."""
        return None if self.stages is None else self.stages.total


@dataclass(frozen=True)
class Setting:
    """Method, weights and resolution of an answer."""

    method: Method  # with its retention
    loading: LoadOptions  # dtype and quantization
    loss: float = 0.0  # points of accuracy that it loses
    max_pixels: int | None = None  # of a frame, which is scaled down to it; None keeps its size


@dataclass(frozen=True)
class Choice:
    """A setting with a number of frames, and what the answer takes."""

    setting: Setting
    frames: int
    costs: StageCosts


@dataclass(frozen=True)
class FitChoice:
    """The configuration that `--fit` chose, and why."""

    frames: Annotated[Count, Doc("At most these are sampled.")]
    asked: Annotated[Count, Doc("Frames that would be sampled without --fit.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    max_pixels: Annotated[
        int | None, Doc("Of a frame, which is scaled down to it; null keeps its size.", minimum=1)
    ]
    dtype: Annotated[str, Doc("Of the weights, or the quantization.")]
    bytes: Annotated[Count, Doc("Predicted peak memory, with its reserve.")]
    seconds: Annotated[
        float | None, Doc("Predicted, of vision, prefill and decode; null if unknown.", minimum=0)
    ]
    measured: Annotated[bool, Doc("Whether this model's stages were timed on this machine.")]
    reason: Annotated[str, Doc("Sentence for a person.")]


Costs = Callable[[Setting, int], StageCosts | None]
"""Costs of a setting with a number of frames; None if the method doesn't work with so few."""


def least_loss(
    settings: Sequence[Setting], most: int, costs: Costs, budget: Budget
) -> Choice | None:
    """The setting and number of frames that lose least and keep the budget.

    Returns:
        None if no setting keeps it, not even with one frame.
    """
    best: tuple[float, Choice] | None = None
    for setting in sorted(settings, key=lambda one: one.loss):
        if best is not None and setting.loss >= best[0]:
            break  # not even with all frames would it lose less
        choice = _with_most_frames(setting, most, costs, budget)
        if choice is None:
            continue
        loss = setting.loss + HALVED_FRAMES * math.log2(most / choice.frames)
        if best is None or loss < best[0]:
            best = loss, choice
    return None if best is None else best[1]


def cheapest(settings: Sequence[Setting], most: int, costs: Costs, budget: Budget) -> Choice | None:
    """The choice that comes nearest to a budget that can't be kept.

    The least memory if that is the problem, else the least time within the memory.

    Args: as of `least_loss`.

    Returns:
        None if no setting fits into the context.
    """
    least = [_with_fewest_frames(setting, most, costs) for setting in settings]
    able = [one for one in least if one is not None and one.costs.in_context]
    affordable = [one for one in able if budget.holds_bytes(one.costs)]
    timed = [(one.costs.seconds, n) for n, one in enumerate(affordable) if one.costs.seconds]
    if affordable:
        return affordable[min(timed)[1]] if timed else affordable[0]
    return min(able, key=lambda one: one.costs.bytes, default=None)


def _with_most_frames(setting: Setting, most: int, costs: Costs, budget: Budget) -> Choice | None:
    """By bisection between frames that keep the budget and frames that don't."""

    def keeping(frames: int) -> Choice | None:
        found = costs(setting, frames)
        return Choice(setting, frames, found) if found and budget.holds(found) else None

    if (all_of_them := keeping(most)) is not None:
        return all_of_them
    fewest = _with_fewest_frames(setting, most, costs)
    if fewest is None or not budget.holds(fewest.costs):
        return None
    low, high = fewest, most
    while high - low.frames > 1:
        middle = (low.frames + high) // 2
        if (choice := keeping(middle)) is None:
            high = middle
        else:
            low = choice
    return low


def _with_fewest_frames(setting: Setting, most: int, costs: Costs) -> Choice | None:
    for frames in range(1, most + 1):
        if (found := costs(setting, frames)) is not None:
            return Choice(setting, frames, found)
    return None
