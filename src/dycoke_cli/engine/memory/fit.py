"""The frames and weights that lose least within the memory of a device.

A pure function of what each combination costs. `CostModel` predicts that; here is no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.answer.json_schema import Amount, Doc
from dycoke_cli.compression.base import Method
from dycoke_cli.models.load_options import LoadOptions

HALVED_FRAMES = 6.2
"""Points of accuracy lost by half the frames: 12.4 by a quarter (`uniform-frames` at 25 %,
docs/results.md, model tokens-64)."""


@dataclass(frozen=True)
class Budget:
    """What an answer may take."""

    bytes: int | None = None  # of the device's memory, weights included; None is no bound

    def holds(self, costs: StageCosts) -> bool:
        """Whether an answer keeps it, with the reserve, and fits into the context."""
        return costs.in_context and (self.bytes is None or costs.bytes <= self.bytes)


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


@dataclass(frozen=True)
class Setting:
    """Method and weights of an answer."""

    method: Method  # with its retention
    loading: LoadOptions  # dtype and quantization
    loss: float = 0.0  # points of accuracy that it loses


@dataclass(frozen=True)
class Choice:
    """A setting with a number of frames, and what the answer takes."""

    setting: Setting
    frames: int
    costs: StageCosts


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
