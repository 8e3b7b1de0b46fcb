"""The benchmark of costs over frames: its exponents, its tables, and what it reads of memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks.frames import Cost, Resident, cost_of, exponent, table


def cost(frames: int) -> Cost:
    return Cost(98 * frames, 2.0 * frames, 0.01 * frames**2, 0.05, 3.0 * frames, 10, 20, frames, 7)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power(power: float) -> None:
    assert exponent({n: 3.0 * n**power for n in (8, 16, 64)}) == pytest.approx(power)


def test_the_exponent_is_the_slope_of_least_squares() -> None:
    costs = {8: 1.0, 16: 2.7, 32: 4.1, 256: 70.0}
    slope, _ = np.polyfit(np.log([*costs]), np.log([*costs.values()]), 1)
    assert exponent(costs) == pytest.approx(slope)


def test_no_exponent_of_a_single_figure_or_of_nothing() -> None:
    assert exponent({8: 1.0}) is None
    assert exponent({8: 0.0, 16: 0.0}) is None


def test_each_number_of_frames_has_a_row_and_the_exponents_the_last() -> None:
    lines = table("dycoke", {8: cost(8), 16: cost(16), 256: None}).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[0] for row in rows[2:]] == ["8", "16", "256", "exponent"]
    assert rows[3][1:5] == ["1,568", "32", "2.56", "50"]
    assert rows[4][1] == "longer than the context"
    assert rows[-1][2:5] == ["1.00", "2.00", "0.00"]
    assert len({len(row) for row in rows}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peak_is_seen_though_it_is_gone() -> None:
    resident = Resident()
    before = resident.mark()
    held = np.ones(200_000_000, np.uint8)
    del held
    assert resident.peak() - before > 190_000_000
    assert resident.mark() - before < 50_000_000
    assert resident.peak() - before < 50_000_000


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_clip_is_measured_and_one_too_long_is_not() -> None:
    found = cost_of("mini", "dycoke", 4, None, "float32")
    assert found is not None
    assert found.visual < 4 * 16
    assert min(found.vision, found.prefill, found.token, found.kv_cache, found.peak) > 0
    assert cost_of("mini", "none", 512, None, "float32") is None
