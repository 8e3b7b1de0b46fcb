"""Long videos: which seconds are shown, what thinning leaves, and a run that learns them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoProcessor

from dycoke_cli.compression.coverage import cover_and_merge
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.batches import Shape, make_batch, moments
from training.checkpoints import LONG_CONTEXT, export_run
from training.curriculum import LONG, Recipe, Stage
from training.thinning import WINDOWS, thinned
from training.trainer import Trainer, pickled_batch
from training.world.scripts import draw_script, long_limits

from .parts import batch_of, parts

TINY = Shape(videos=2, frames=12, text=40, lengths=(120,), pool=30, scales=(1,), out_of_domain=0.0)


@pytest.mark.parametrize("seconds", [120, 3600])
def test_each_event_is_shown_and_what_is_between_is_spread(seconds: int) -> None:
    for seed in range(5):
        script = draw_script(seed, "train", long_limits(seconds))
        shown = moments(script, 48, np.random.default_rng(seed))
        assert len({*shown.tolist()}) == 48
        assert shown.tolist() == sorted(shown)
        assert shown[0] == 0
        assert shown[-1] < seconds
        for event in script.events:
            during = (shown >= event.begin * seconds) & (shown < event.finish * seconds)
            assert during.sum() >= 2
        # Between events no gap is much longer than a quarter of the video.
        assert np.diff(shown).max() < seconds / 4


def test_events_of_long_videos_lie_anywhere_and_the_camera_moves_as_in_short_ones() -> None:
    scripts = [draw_script([seed, 1], "train", long_limits(3600)) for seed in range(60)]
    begins = np.array([event.begin for script in scripts for event in script.events])
    assert 0.4 < begins.mean() < 0.6
    assert (begins > 0.85).any()
    lengths = [(e.finish - e.begin) * 3600 for script in scripts for e in script.events]
    assert 3 <= min(lengths) < max(lengths) <= 7.8 + 1e-6
    pans = [np.abs(s.camera.pan).max() / 3600 for s in scripts if s.label == "dynamic"]
    assert 1 / 30 <= min(pans) <= max(pans) <= 3 / 30


def inputs_of(batch, prefix: int) -> torch.Tensor:
    """Inputs whose visual tokens repeat every few frames, so that some stand for others."""
    torch.manual_seed(1)
    few = torch.randn(20, 24)
    tokens = few[torch.arange(prefix + batch.text.shape[1]) % 20].expand(len(batch.text), -1, -1)
    return (tokens + 0.05 * torch.randn(tokens.shape)).requires_grad_()


@pytest.mark.parametrize("renumbered", [False, True])
def test_thinning_leaves_what_coverage_keeps(renumbered: bool) -> None:
    shape = replace(TINY, renumbered=renumbered)
    batch, codec = batch_of(3, shape), parts()[0]
    prefix, before = shape.prefix, len(codec.prefix)
    inputs = inputs_of(batch, prefix)
    thin, found, length = thinned(batch, inputs, prefix, codec)
    assert length == before + 30 + 1
    assert found.shape == (2, length + 40, 24)
    for row in range(2):
        tokens = inputs[row, before : prefix - 1].detach()
        places = batch.positions[row, before : prefix - 1] - before
        chosen = cover_and_merge(tokens, places // 16, 30, 120 // WINDOWS)
        assert chosen.features is not None
        assert torch.allclose(found[row, before : length - 1], chosen.features, atol=1e-5)
        # Opening, end and text are as they were.
        assert torch.equal(found[row, :before], inputs[row, :before])
        assert torch.equal(found[row, length - 1 :], inputs[row, prefix - 1 :])
        for name in ("seen", "changed", "known", "earlier"):
            facts = getattr(batch, name)[row].flatten(0, 1)[chosen.kept]
            assert torch.equal(getattr(thin, name)[row, 0], facts)
        own = places[chosen.kept] + before
        here = thin.positions[row]
        in_line = list(range(before, length - 1))
        assert here[before : length - 1].tolist() == (in_line if renumbered else own.tolist())
        # The newline stands behind the 120 frames, or behind what is left; the text behind it.
        end = length - 1 if renumbered else before + 120 * 16
        assert here[length - 1] == end
        text = batch.positions[row, prefix:] - batch.positions[row, prefix - 1]
        assert torch.equal(here[length:] - end, text)
    found[:, before : length - 1].sum().backward()
    # Dropped tokens learn as well: they are part of those that stand for them.
    assert inputs.grad is not None
    assert (inputs.grad[:, before : prefix - 1] != 0).any(-1).sum() > 2 * 30


def test_a_batch_that_was_pickled_is_the_same() -> None:
    codec, processor, _ = parts()
    made = make_batch([5], TINY, "train", codec, processor.video_processor)
    sent = pickle.loads(pickled_batch([5], TINY, codec, processor.video_processor))
    assert torch.equal(sent.pixels, made.pixels)
    assert torch.equal(sent.positions, made.positions)
    assert sent.spread == 120


@pytest.mark.slow
def test_a_run_learns_long_videos_and_exports_a_longer_context(tmp_path, monkeypatch) -> None:
    going_on = Recipe.going_on

    def short(recipe: Recipe, begun) -> Recipe:
        now = going_on(recipe, begun)
        assert now.curriculum == (LONG,)
        stage = Stage("long videos", ((TINY, 1.0),), 1.1, 1.0)
        return replace(now, probes_first=1, curriculum=(stage,))

    monkeypatch.setattr(Recipe, "going_on", short)
    recipe = replace(Recipe(), steps=2, long=True)
    trainer = Trainer(recipe, tmp_path / "run", begin=BUNDLED_CHECKPOINT)
    losses = []
    trainer.run(lambda progress, _: losses.append(progress.loss))
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert Trainer(recipe, tmp_path / "run").recipe == trainer.recipe
    with pytest.raises(Exception, match="was started with --long: give that again"):
        Trainer(replace(recipe, long=False), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert config.text_config.max_position_embeddings == LONG_CONTEXT
    tokenizer = AutoProcessor.from_pretrained(tmp_path / "out").tokenizer
    assert tokenizer.model_max_length == LONG_CONTEXT


@pytest.mark.extended
@pytest.mark.slow
def test_processes_make_the_batches_that_a_thread_makes(tmp_path, monkeypatch) -> None:
    """Beside a GPU; what makes the batches doesn't know where the model is."""
    from training import trainer as module

    makers = module.batch_makers
    stage = Stage("a", ((TINY, 1.0),), 1.1, 1.0)
    recipe = replace(Recipe(), steps=3, curriculum=(stage,))

    def run(device: str) -> list[torch.Tensor]:
        monkeypatch.setattr(module, "batch_makers", lambda _: makers(torch.device(device)))
        trainer, seen = Trainer(recipe, tmp_path / device), []

        def step(batch):
            seen.append(batch.pixels)
            trainer.progress.step += 1

        trainer.step = step  # type: ignore[method-assign]
        trainer.run(lambda *_: None)
        return seen

    for here, there in zip(run("cpu"), run("cuda"), strict=True):
        assert torch.equal(here, there)
