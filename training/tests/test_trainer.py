"""Training: continued after a kill it ends where it would have ended, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from tests.marks import EXTENDED
from training import curriculum as recipes
from training import trainer as trainer_module
from training.auxiliary_losses import verdict_loss
from training.batches import Batch, Shape, make_batch
from training.curriculum import Recipe, Stage
from training.objective import loss_of
from training.trainer import Progress, Trainer, log_line
from training.world.random_scripts import ScriptLimits

from .parts import batch_of

TINY = Shape(videos=2, frames=2, text=64)
STILL = Shape(videos=3, frames=1, text=64, limits=ScriptLimits((0, 0), 1))
EYES = Shape(videos=3, frames=1, text=0, vision_only=True)
STAGES = (Stage("a", ((EYES, 1.0),), 1.1, 0.5), Stage("b", ((TINY, 0.5), (STILL, 0.5)), 1.1, 1))
RECIPE = replace(Recipe(), steps=6, curriculum=STAGES, warmup=2)


class Killed(Exception):
    pass


def run(folder, until: int | None = None) -> Trainer:
    def each(progress, _stage):
        if progress.step == until:
            raise Killed

    trainer = Trainer(RECIPE, folder)
    trainer.run(each, save_every=0.0)
    return trainer


@pytest.mark.extended
@pytest.mark.slow
def test_a_run_that_was_killed_ends_like_one_that_was_not(tmp_path) -> None:
    begun = Trainer(RECIPE, tmp_path / "new").model.state_dict()
    whole = run(tmp_path / "whole")
    for step in (2, 4):
        with pytest.raises(Killed):
            run(tmp_path / "killed", until=step)
    again = run(tmp_path / "killed")
    assert again.progress.step == whole.progress.step == 6
    assert again.progress.stage == whole.progress.stage == 1
    assert again.progress.videos == whole.progress.videos
    assert again.progress.accuracy == whole.progress.accuracy
    for part in ("model", "auxiliary"):
        ours, theirs = (getattr(t, part).state_dict() for t in (again, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # Every matrix has learned something, those of the tower too.
    learned_by = {n: not torch.equal(w, begun[n]) for n, w in whole.model.state_dict().items()}
    assert all(learned_by[name] for name, weight in begun.items() if weight.ndim == 2)


@pytest.mark.extended
@pytest.mark.slow
def test_it_learns(tmp_path) -> None:
    """A few steps of the first stage: what is read off tokens gets better than at the start."""
    losses = []
    stage = Stage("vision tower", ((replace(EYES, videos=12, out_of_domain=0.0), 1.0),), 1.1, 1.0)
    recipe = replace(RECIPE, steps=12, curriculum=(stage,), fall=0.0)
    Trainer(recipe, tmp_path).run(lambda p, _: losses.append(p.loss), save_every=1e9)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_stage_is_over_when_it_is_learned(tmp_path) -> None:
    easy = replace(STAGES[0], pass_mark=0.0, latest=0.9)
    trainer = Trainer(replace(RECIPE, steps=2, curriculum=(easy, STAGES[1])), tmp_path)
    stages = []
    trainer.run(lambda progress, stage: stages.append((stage.name, progress.stage)))
    assert stages == [("a", 1), ("b", 1)]


def instead_of_steps(trainer: Trainer, do: Callable[[Batch], object]) -> None:
    """Has the trainer do something else with each batch."""

    def step(batch: Batch) -> None:
        trainer.progress.step += 1
        do(batch)

    trainer.step = step  # type: ignore[method-assign]


def test_a_stage_is_over_in_time_and_forgets_what_it_counted(tmp_path) -> None:
    trainer = Trainer(replace(RECIPE, steps=4), tmp_path)
    instead_of_steps(trainer, lambda _: trainer._judge([("colour", 1.0)]))
    found = []
    trainer.run(lambda p, stage: found.append((stage.name, p.stage, bool(p.accuracy))))
    assert found == [("a", 0, True), ("a", 1, False), ("b", 1, True), ("b", 1, True)]


def test_learning_rate_rises_and_falls_to_nothing() -> None:
    recipe = replace(Recipe(), steps=100, warmup=10, fall=1.5)
    assert recipe.rate(0) == pytest.approx(0.1)
    assert recipe.rate(4) == pytest.approx(0.5 * 0.96 * 0.96**0.5)
    assert recipe.rate(75) == pytest.approx(0.125)
    assert recipe.rate(100) == 0


@pytest.mark.extended
@pytest.mark.slow
def test_a_run_that_goes_on_leaves_the_model_alone_until_the_probes_have_learned(
    tmp_path, monkeypatch
) -> None:
    going_on = Recipe.going_on
    short = {"probes_first": 2, "warmup": 1}
    monkeypatch.setattr(
        Recipe, "going_on", lambda recipe, begun: replace(going_on(recipe, begun), **short)
    )
    recipe = replace(RECIPE, steps=4)
    trainer = Trainer(recipe, tmp_path, begin=BUNDLED_CHECKPOINT)
    weights = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    probes = {name: weight.clone() for name, weight in trainer.auxiliary.state_dict().items()}
    moved = []

    def each(progress, _stage):
        now = trainer.model.state_dict()
        moved.append(any(not torch.equal(now[name], weights[name]) for name in weights))
        seeing = trainer.auxiliary.state_dict()["seeing_probe.linear.weight"]
        assert not torch.equal(seeing, probes["seeing_probe.linear.weight"])
        # What fresh probes would have the model do isn't kept for later either.
        assert bool(trainer.muon.state) == moved[-1]

    trainer.run(each)
    assert moved == [False, False, True, True]
    # Resumed, it is the same recipe, without the checkpoint.
    again = Trainer(recipe, tmp_path)
    assert again.recipe == trainer.recipe != recipe
    assert again.recipe.begun == "checkpoint"
    assert not Trainer(recipe, tmp_path / "new").recipe.begun


@pytest.mark.parametrize(
    ("begun", "rates"),
    [
        # Half of the first rate, less what has fallen by then, in a straight line to nothing.
        ("checkpoint", {119: 0, 120: 0.5 / 60 * 0.88, 180: 0.5 * 0.82, 750: 0.125}),
        ("run", {0: 0.3 / 20, 20: 0.3 * 0.98, 1000: 0}),
    ],
)
def test_a_run_that_goes_on(begun, rates) -> None:
    recipe = replace(Recipe(), steps=1000).going_on(begun)
    assert {step: pytest.approx(recipe.rate(step)) for step in rates} == rates
    assert recipe.probe_rate(180) == pytest.approx(0.82)
    assert [stage.name for stage in recipe.curriculum] == ["8 to 32 frames", "32 frames"]
    assert recipe.going_on(begun) == recipe


def learned(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Weights, probes and moments by name."""
    moments = {
        f"{name} {i} {key}": value
        for name in ("muon", "adam")
        for i, held in getattr(trainer, name).state_dict()["state"].items()
        for key, value in held.items()
    }
    return {**trainer.model.state_dict(), **trainer.auxiliary.state_dict(), **moments}


@pytest.mark.extended
@pytest.mark.slow
def test_a_run_begins_with_another_ones_probes_and_moments(tmp_path) -> None:
    short = replace(RECIPE, steps=2)
    first = Trainer(short, tmp_path / "first")
    first.run(lambda *_: None)
    same = Trainer(short, tmp_path / "same", begin=tmp_path / "first")
    assert same.recipe.begun == "run"
    assert same.progress == Progress(0, 0, {}, 0.0, 0, 0.0)
    theirs, ours = learned(first), learned(same)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_damaged_run_is_not_begun_with(tmp_path) -> None:
    (tmp_path / "state.pt").write_bytes(b"PK torn")
    with pytest.raises(ModelError, match=r"state.pt is damaged .*: begin with another run"):
        Trainer(RECIPE, tmp_path / "new", begin=tmp_path)


def test_what_is_learned_is_the_batch_of_the_seed_the_step_and_the_stage(tmp_path) -> None:
    """Without the dropout that its stages have, where that is switched off."""
    shape = Shape(videos=2, frames=2, grid=4, text=64, token_dropout=1.0)
    recipe = replace(RECIPE, steps=2, curriculum=(Stage("a", ((shape, 1.0),), 1.1, 1.0),))
    trainer = Trainer(replace(recipe, dropout=False), tmp_path)
    batches: list[Batch] = []
    instead_of_steps(trainer, batches.append)
    trainer.run(lambda *_: None)
    for step, batch in enumerate(batches):
        whole = shape.without_dropout()
        made = make_batch(
            [RECIPE.seed, step], whole, "train", trainer.codec, trainer.video_processor
        )
        assert torch.equal(batch.pixels, made.pixels)
        assert torch.equal(batch.text, made.text)
        assert torch.equal(batch.positions, made.positions)
        assert not batch.dropped.any()


@pytest.mark.extended
@pytest.mark.slow
def test_processes_make_the_batches_that_a_thread_makes(tmp_path, monkeypatch) -> None:
    """Beside a GPU; what makes the batches doesn't know where the model is."""
    makers, made = trainer_module.batch_makers, []
    for device in ("cpu", "cuda"):
        begun = partial(makers, torch.device(device))
        monkeypatch.setattr(trainer_module, "batch_makers", lambda _, begun=begun: begun())
        trainer, seen = Trainer(replace(RECIPE, steps=3), tmp_path / device), []
        instead_of_steps(trainer, lambda batch, seen=seen: seen.append(batch.pixels))
        trainer.run(lambda *_: None)
        made.append(seen)
    assert all(torch.equal(here, there) for here, there in zip(*made, strict=True))


def test_no_stage_has_dropout_where_it_is_switched_off() -> None:
    none = Recipe(dropout=False)
    for recipe in (none, *map(none.going_on, ("checkpoint", "run"))):
        for i in range(len(recipe.curriculum)):
            for shape, _ in recipe.stage(i).shapes:
                assert (shape.token_dropout, shape.grid) == (0, 0)
    shapes = [shape for shape, _ in Recipe().stage(4).shapes]
    assert any(shape.token_dropout for shape in shapes)
    assert any(shape.grid for shape in shapes)


@pytest.mark.parametrize("dropout", [False, pytest.param(True, marks=EXTENDED)])
def test_a_run_keeps_to_the_dropout_it_was_started_with(tmp_path, dropout: bool) -> None:
    Trainer(replace(RECIPE, dropout=dropout), tmp_path).save()
    assert Trainer(replace(RECIPE, dropout=dropout), tmp_path).recipe.dropout == dropout
    started = "--dropout" if dropout else "--no-dropout"
    with pytest.raises(ModelError, match=f"was started with {started}: give that again"):
        Trainer(replace(RECIPE, dropout=not dropout), tmp_path)


def test_the_curriculum_ends_with_what_the_program_shows_by_default() -> None:
    last = recipes.CURRICULUM[-1]
    assert max(shape.frames for shape, _ in last.shapes) == 32
    assert last.latest == 1
    assert [s.latest for s in recipes.CURRICULUM] == sorted(s.latest for s in recipes.CURRICULUM)


def test_the_loss_by_hand() -> None:
    batch = batch_of(5, Shape(videos=1, frames=1, text=60))
    asked = batch.labels[0] != -100
    weights, labels = batch.weights[0][asked], batch.labels[0][asked]
    torch.manual_seed(0)
    logits = torch.randn(len(labels), 200)
    expected = 0.0
    for row, weight, label in zip(logits, weights, labels, strict=True):
        expected -= float(weight * torch.log(torch.exp(row[label]) / torch.exp(row).sum()))
    assert float(loss_of(logits, batch)) == pytest.approx(expected / float(weights.sum()), rel=1e-4)


def test_a_judge_that_knows_has_no_loss_and_one_that_errs_has() -> None:
    batch = batch_of(5, Shape(videos=2, frames=1, text=120))
    judge = torch.nn.Linear(256, 1)
    with torch.no_grad():
        judge.weight.zero_()
        judge.weight[0, 0] = 50.0
        judge.bias.zero_()
    judged = torch.zeros(2, 19 + 120, 256)
    judged[:, 19:, 0] = torch.where(batch.verdicts == 1, 1.0, -1.0)
    with torch.no_grad():
        loss, right = verdict_loss(judge, judged, batch)
    assert right == 1
    assert float(loss) < 1e-3
    with torch.no_grad():
        loss, right = verdict_loss(judge, -judged, batch)
    assert right == 0
    assert float(loss) > 10
    none = batch_of(5, Shape(videos=1, frames=1, text=0))
    assert verdict_loss(judge, torch.zeros(1, 19, 256), none)[1] is None


def test_log_lines_are_json() -> None:
    progress = Progress(3, 0, {"colour": 0.51239}, 0.1, 10, 2.0)
    line = json.loads(log_line(progress, STAGES[0]))
    assert line["stage"] == "a"
    assert line["accuracy"] == {"colour": 0.512}
    assert line["mean"] == pytest.approx(0.5124)
