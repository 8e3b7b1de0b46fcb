"""A run's state on disk: what is damaged is passed over, with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dycoke_cli.errors import ModelError
from dycoke_cli.models.mini.training.kept import BEFORE, STATE, is_kept, keep, take_up


def state(number: int) -> dict:
    return {"weight": torch.full((64, 64), float(number))}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two states, 1 and 2."""
    keep(state(1), tmp_path)
    keep(state(2), tmp_path)
    return tmp_path


def taken_up(folder: Path) -> tuple[list[int], list[str]]:
    """The states that were used, and what was told."""
    used: list[int] = []
    told: list[str] = []
    take_up(folder, lambda s: used.append(int(s["weight"][0, 0])), told.append)
    return used, told


def test_the_last_one_counts(run: Path) -> None:
    assert taken_up(run) == ([2], [])
    assert {path.name for path in run.iterdir()} == {STATE, BEFORE}


@pytest.mark.parametrize("left", [0, 10, 5000])
def test_of_a_torn_one_the_one_before_is_used(run: Path, left: int) -> None:
    (run / STATE).write_bytes((run / STATE).read_bytes()[:left])
    used, (told,) = taken_up(run)
    assert used == [1]
    assert told == (
        f"{run / STATE} is damaged or of another configuration: the state before it is used."
    )


def test_one_that_does_not_fit_is_passed_over(run: Path) -> None:
    torch.save({"something": "else"}, run / STATE)
    used, told = taken_up(run)
    assert (used, len(told)) == ([1], 1)


def test_a_kill_between_the_two_moves_loses_nothing(run: Path) -> None:
    (run / STATE).rename(run / BEFORE)
    assert is_kept(run)
    assert taken_up(run) == ([2], [])


def test_none_that_fits_is_an_error(run: Path) -> None:
    for name in (STATE, BEFORE):
        (run / name).write_bytes(b"")
    with pytest.raises(ModelError, match=r"state.pt .* and .*before.pt .*: train in another"):
        taken_up(run)
