"""Several processes with the model: the same outcomes as of one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.runs import local
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome

from .parts import CLIPS, PLAN, jobs_in

pytestmark = pytest.mark.slow


def outcomes(folder: Path, workers: int, listener: Listener | None = None) -> list[Outcome]:
    jobs = jobs_in(folder, "What happens?", "How many objects are there?")
    plan = replace(PLAN, workers=workers)
    return list(local.answers(jobs, plan, listener or Listener()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips of several shapes, and one that can't be read."""
    for clip in sorted(CLIPS.glob("*.mp4"), key=lambda path: path.stat().st_size)[:4]:
        shutil.copy(clip, tmp_path)
    (tmp_path / "broken.mp4").write_text("no video")
    return tmp_path


def test_workers_give_the_outcomes_of_one_process(folder: Path) -> None:
    one = {o.key: o.line.get("answer") for o in outcomes(folder, 1)}
    several = outcomes(folder, 2)
    assert {o.key: o.line.get("answer") for o in several} == one
    assert len(several) == len(one) == 10
    assert sum(o.failed for o in several) == 2


def test_a_run_that_is_to_end_ends(folder: Path) -> None:
    class Ending(Listener):
        """Stops when the first answer can be there."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "ready" and value:
                self.stopping = True

    assert len(outcomes(folder, 2, Ending())) < 10
