"""The choice of `--fit` against brute force over all combinations, and its errors."""

from __future__ import annotations

import math
import random

import pytest

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.engine.memory.fit import (
    HALVED_FRAMES,
    SECONDS_RESERVE,
    Budget,
    Choice,
    Costs,
    EstimatedSeconds,
    Setting,
    StageCosts,
    cheapest,
    least_loss,
)
from dycoke_cli.models.load_options import LoadOptions
from tests.covering import EXTENDED

GB = 10**9


def made_up(drawn: random.Random) -> tuple[list[Setting], int, Costs]:
    """Settings whose costs grow with the frames; some have no times, or need several frames."""
    settings = [
        Setting(DyCokePlus(retain=(n + 1) / 10), LoadOptions(), drawn.choice([0, 1, 2, 2, 9.5]))
        for n in range(drawn.randint(1, 6))
    ]
    weights, share, early, late = ([drawn.uniform(0.1, 4) for _ in settings] for _ in range(4))
    context = drawn.choice([10**9, 40])
    timed = [drawn.random() < 0.8 for _ in settings]
    least = [drawn.choice([1, 1, 5]) for _ in settings]

    def costs(setting: Setting, frames: int) -> StageCosts | None:
        n = settings.index(setting)
        if frames < least[n]:
            return None
        stages = EstimatedSeconds(early[n] * frames, late[n] * frames**1.5, 0.5)
        taken = int(GB * (weights[n] + share[n] * frames / 8))
        return StageCosts(taken, stages if timed[n] else None, share[n] * frames <= context)

    return settings, drawn.randint(1, 40), costs


def loss_of(choice: Choice, most: int) -> float:
    return choice.setting.loss + HALVED_FRAMES * math.log2(most / choice.frames)


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(n, marks=EXTENDED) for n in range(8, 40))]
)
def test_no_combination_that_holds_loses_less(seed: int) -> None:
    drawn = random.Random(seed)
    settings, most, costs = made_up(drawn)
    for _ in range(10):
        budget = Budget(
            drawn.choice([None, int(drawn.uniform(0, 20) * GB)]),
            drawn.choice([None, drawn.uniform(0, 200)]),
        )
        holding = [
            Choice(setting, frames, found)
            for setting in settings
            for frames in range(1, most + 1)
            if (found := costs(setting, frames)) is not None
            and found.in_context
            and (budget.bytes is None or found.bytes <= budget.bytes)
            and (
                budget.seconds is None
                or (found.seconds is not None and found.seconds * SECONDS_RESERVE <= budget.seconds)
            )
        ]
        chosen = least_loss(settings, most, costs, budget)
        if not holding:
            assert chosen is None
            continue
        assert chosen in holding
        assert loss_of(chosen, most) == min(loss_of(one, most) for one in holding)


def of(bytes_: float, seconds: float | None) -> StageCosts:
    stages = None if seconds is None else EstimatedSeconds(seconds, 0.0, 0.0)
    return StageCosts(int(bytes_ * GB), stages)


@pytest.mark.parametrize(
    ("budget", "nearest"),
    [
        (Budget(1 * GB), 1),  # the least memory, however slow
        (Budget(5 * GB, 3.0), 0),  # the least time of those within the memory
        (Budget(3 * GB, 3.0), 2),
        (Budget(None, 1.0), 0),
    ],
)
def test_what_comes_nearest_to_a_budget_that_cannot_be_kept(budget: Budget, nearest: int) -> None:
    settings = [Setting(DyCokePlus(retain=share), LoadOptions()) for share in (0.5, 0.25, 0.1)]
    least = [of(4, 4.0), of(2, 9.0), of(3, 6.0)]

    def costs(setting: Setting, frames: int) -> StageCosts:
        return least[settings.index(setting)]

    found = cheapest(settings, 8, costs, budget)
    assert found == Choice(settings[nearest], 1, least[nearest])


def test_nothing_comes_near_if_one_frame_exceeds_the_context() -> None:
    settings = [Setting(Method(), LoadOptions())]
    assert cheapest(settings, 8, lambda *_: StageCosts(1, in_context=False), Budget(1)) is None


def test_unknown_seconds_keep_no_budget_of_seconds() -> None:
    assert Budget(2 * GB).holds(of(1, None))
    assert not Budget(2 * GB, 1000.0).holds(of(1, None))


def test_a_budget_is_shown_as_it_is_given() -> None:
    assert str(Budget(8 * GB, 20.0)) == "8GB,20s"
    assert str(Budget(900 * 10**6)) == "0.9GB"
    assert str(Budget(2000 * GB, 1.5)) == "2000GB,1.5s"
