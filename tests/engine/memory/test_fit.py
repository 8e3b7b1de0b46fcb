"""What loses least and fits, against brute force over all combinations."""

from __future__ import annotations

import math
import random

import pytest

from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.engine.memory.fit import (
    HALVED_FRAMES,
    Budget,
    Choice,
    Costs,
    Setting,
    StageCosts,
    least_loss,
)
from dycoke_cli.models.load_options import LoadOptions
from tests.covering import EXTENDED

GB = 10**9


def made_up(drawn: random.Random) -> tuple[list[Setting], int, Costs]:
    """Settings whose costs grow with the frames; some need several frames."""
    settings = [
        Setting(DyCokePlus(retain=(n + 1) / 10), LoadOptions(), drawn.choice([0, 1, 2, 2, 9.5]))
        for n in range(drawn.randint(1, 6))
    ]
    weights, share = ([drawn.uniform(0.1, 4) for _ in settings] for _ in range(2))
    context = drawn.choice([10**9, 40])
    least = [drawn.choice([1, 1, 5]) for _ in settings]

    def costs(setting: Setting, frames: int) -> StageCosts | None:
        n = settings.index(setting)
        if frames < least[n]:
            return None
        taken = int(GB * (weights[n] + share[n] * frames / 8))
        return StageCosts(taken, in_context=share[n] * frames <= context)

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
        budget = Budget(drawn.choice([None, int(drawn.uniform(0, 20) * GB)]))
        holding = [
            Choice(setting, frames, found)
            for setting in settings
            for frames in range(1, most + 1)
            if (found := costs(setting, frames)) is not None
            and found.in_context
            and (budget.bytes is None or found.bytes <= budget.bytes)
        ]
        chosen = least_loss(settings, most, costs, budget)
        if not holding:
            assert chosen is None
            continue
        assert chosen in holding
        assert loss_of(chosen, most) == min(loss_of(one, most) for one in holding)
