"""Training: continued after a kill it ends where it would have ended, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from dycoke_cli.errors import OutputError
from dycoke_cli.models.mini import recipe as recipes
from dycoke_cli.models.mini.batches import Shape
from dycoke_cli.models.mini.command import app
from dycoke_cli.models.mini.export import export_run
from dycoke_cli.models.mini.recipe import Recipe, Stage
from dycoke_cli.models.mini.train import Progress, Trainer, log_line

TINY = Shape(videos=2, frames=2, text=64)
STILL = Shape(videos=3, frames=1, text=64)
LESSONS = (Stage("a", ((STILL, 1.0),), 1.1, 0.5), Stage("b", ((TINY, 0.5), (STILL, 0.5)), 1.1, 1))
RECIPE = replace(Recipe(), steps=6, curriculum=LESSONS, warmup=2)


class Killed(Exception):
    pass


def run(folder, until: int | None = None) -> Trainer:
    def each(progress, _stage):
        if progress.step == until:
            raise Killed

    trainer = Trainer(RECIPE, folder)
    trainer.run(each, save_every=0.0)
    return trainer


def test_a_run_that_was_killed_ends_like_one_that_was_not(tmp_path):
    whole = run(tmp_path / "whole")
    for step in (2, 4):
        with pytest.raises(Killed):
            run(tmp_path / "killed", until=step)
    again = run(tmp_path / "killed")
    assert again.progress.step == whole.progress.step == 6
    assert again.progress.stage == whole.progress.stage == 1
    assert again.progress.accuracy == whole.progress.accuracy
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_lesson_is_over_when_it_is_learned(tmp_path):
    easy = replace(LESSONS[0], pass_mark=0.0, latest=0.9)
    trainer = Trainer(replace(RECIPE, steps=2, curriculum=(easy, LESSONS[1])), tmp_path)
    stages = []
    trainer.run(lambda progress, stage: stages.append((stage.name, progress.stage)))
    assert stages == [("a", 1), ("b", 1)]


def test_learning_rate_rises_stays_and_falls_to_nothing():
    recipe = replace(Recipe(), steps=100, warmup=10, warmdown=0.2)
    assert recipe.rate(0) == pytest.approx(0.1)
    assert recipe.rate(9) == recipe.rate(50) == recipe.rate(80) == 1
    assert recipe.rate(90) == pytest.approx(0.5)
    assert recipe.rate(100) == 0


def test_the_curriculum_ends_with_what_the_program_shows_by_default():
    last = recipes.CURRICULUM[-1]
    assert max(shape.frames for shape, _ in last.shapes) == 32
    assert last.latest == 1


def test_log_lines_are_json():
    progress = Progress(3, 0, {"colour": 0.51239}, 0.1, 10, 2.0)
    line = json.loads(log_line(progress, LESSONS[0]))
    assert line["stage"] == "a"
    assert line["accuracy"] == {"colour": 0.512}
    assert line["mean"] == pytest.approx(0.5124)


def test_exporting_no_run_is_an_error_in_a_sentence(tmp_path):
    with pytest.raises(OutputError, match="no training run"):
        export_run(tmp_path)
    result = CliRunner().invoke(app, ["export", "--run", str(tmp_path)])
    assert result.exit_code == 6
