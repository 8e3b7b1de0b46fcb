"""Several processes with the model: the same outcomes as of one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import plugins
from dycoke_cli.runs import pool
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.run import asker_here, outcomes_of
from tests.runs.parts import CLIPS, PLAN, settled_in


def outcomes(folder: Path, workers: int) -> list[Outcome]:
    groups = settled_in(folder, "What happens?", "How many objects are there?")
    plan = replace(PLAN, workers=workers)
    return list(outcomes_of(groups, plan, asker_here, Listener()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips of several shapes, and one that can't be read."""
    for clip in sorted(CLIPS.glob("*.mp4"), key=lambda path: path.stat().st_size)[:4]:
        shutil.copy(clip, tmp_path)
    (tmp_path / "broken.mp4").write_text("no video")
    return tmp_path


@pytest.mark.extended
@pytest.mark.slow
def test_workers_give_the_outcomes_of_one_process(folder: Path) -> None:
    one = {o.key: o.line.get("answer") for o in outcomes(folder, 1)}
    several = outcomes(folder, 2)
    assert {o.key: o.line.get("answer") for o in several} == one
    assert len(several) == len(one) == 10
    assert sum(o.failed for o in several) == 2


def test_workers_share_the_threads_that_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many torch takes the machine to have."""
    given: list[int] = []

    class Noted:
        def __init__(self, serve: Any, plan: Any, threads: int, preload: Any) -> None:
            given.append(threads)

        def stop(self) -> None: ...

    monkeypatch.setattr(pool, "Worker", Noted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    for cpus, threads in ((4, 2), (1, 1), (100, 32)):
        monkeypatch.setattr(pool, "usable_cpus", lambda cpus=cpus: cpus)
        given.clear()
        pool.WorkerPool(replace(PLAN, workers=2), print)._start(2)
        assert given == [threads] * 2


def test_where_there_are_plug_ins_workers_import_for_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`torch.cuda.is_available()` in one of them would keep a GPU from all that are forked."""
    monkeypatch.setattr(plugins, "files", lambda: ())
    monkeypatch.setattr(plugins, "_installed", lambda: EntryPoints(()))
    assert pool._preloaded() == ("dycoke_cli.loop.answer_batch",)
    entry = EntryPoint("stride", "dycoke_stride:Stride", "dycoke.methods")
    monkeypatch.setattr(plugins, "_installed", lambda: EntryPoints((entry,)))
    assert pool._preloaded() == ()
    monkeypatch.setattr(plugins, "_installed", lambda: EntryPoints(()))
    monkeypatch.setattr(plugins, "files", lambda: (Path("stride.py"),))
    assert pool._preloaded() == ()
