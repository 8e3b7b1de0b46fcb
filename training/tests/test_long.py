"""Long videos: which seconds are shown, what thinning leaves, and a run that learns them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoProcessor

from dycoke_cli.compression import coverage
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.batches import Shape, make_batch, moments
from training.checkpoints import LONG_CONTEXT, export_run
from training.curriculum import LONG, Recipe, Stage
from training.objective import embed, run_layers
from training.thinning import WINDOWS, merged
from training.trainer import Trainer, pickled_batch
from training.world.random_scripts import draw_script, long_limits

from .parts import batch_of, parts

TINY = Shape(videos=2, frames=16, text=40, lengths=(120,), pool=30, scales=(1,), out_of_domain=0.0)


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


@pytest.mark.parametrize("renumbered", [False, True])
def test_thinning_leaves_what_coverage_keeps(renumbered: bool) -> None:
    codec = parts()[0]
    whole = batch_of(3, replace(TINY, pool=0))
    thin = batch_of(3, replace(TINY, renumbered=renumbered))
    before, count = len(codec.prefix), 16 * 16
    end = before + 30
    assert torch.equal(thin.text, whole.text)
    assert torch.equal(thin.pixels, whole.pixels)
    for row in range(2):
        places = whole.positions[row, before : before + count] - before
        # By hand: of each 4 x 4 pixels the mean, 4 x 4 of them a token, and what all have.
        means = whole.pixels[row].unflatten(3, (16, 4)).unflatten(2, (16, 4)).mean((3, 5))
        tokens = [
            torch.cat([
                means[f, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].flatten(), torch.tensor([3.0])
            ])
            for f in range(16) for r in range(4) for c in range(4)
        ]  # fmt: skip
        window, video = 120 // WINDOWS, torch.stack(tokens)
        lengths = (places // 16 // window).bincount().tolist()
        alike = coverage.alike_in(video, places // 16 / window, [n for n in lengths if n])
        kept = coverage.most_covering(alike, 30).sort().values
        chosen = coverage.merged(video, alike, kept)
        assert chosen.into is not None
        for name in ("seen", "changed", "known", "earlier"):
            facts = getattr(whole, name)[row].flatten(0, 1)[chosen.kept]
            assert torch.equal(getattr(thin, name)[row, 0], facts)
        here = thin.positions[row]
        in_line, own = list(range(before, end)), (places[chosen.kept] + before).tolist()
        assert here[before:end].tolist() == (in_line if renumbered else own)
        # The newline stands behind the 120 frames, or behind what is left; the text behind it.
        newline = end if renumbered else before + 120 * 16
        assert here[end] == newline
        text = whole.positions[row, before + count :] - (before + 120 * 16)
        assert torch.equal(here[end:] - newline, text)
        # Each left token is the mean of those that it stands for, which learn as well.
        video = torch.randn(2, count + 1, 8, requires_grad=True)
        found = merged(video, thin.slots, 30)
        for slot, kept in enumerate(chosen.kept.tolist()):
            mean = video[row, :-1][chosen.into == kept].mean(0)
            assert torch.allclose(found[row, slot], mean, atol=1e-6)
        assert torch.equal(found[row, 30], video[row, count])
        found[row].sum().backward()
        assert video.grad is not None
        learning = (video.grad[row, :-1] != 0).all(-1)
        assert torch.equal(learning, chosen.into >= 0)
        assert learning.sum() > 30


def test_the_model_reads_what_is_left() -> None:
    codec, _, model = parts()
    batch = batch_of(3, TINY)
    inputs, prefix = embed(model, batch, codec)
    assert prefix == len(codec.prefix) + 30 + 1
    assert inputs.shape == (2, prefix + 40, 256)
    assert batch.positions.shape == batch.dropped.shape == (2, prefix + 40)
    assert len(run_layers(model, batch, inputs, prefix).logits) == (batch.labels != -100).sum()


def test_a_batch_that_was_pickled_is_the_same() -> None:
    codec, processor, _ = parts()
    made = make_batch([5], TINY, "train", codec, processor.video_processor)
    sent = pickle.loads(pickled_batch([5], TINY, codec, processor.video_processor))
    assert torch.equal(sent.pixels, made.pixels)
    assert torch.equal(sent.positions, made.positions)
    assert torch.equal(sent.text, made.text)
    assert sent.spread == 120


@pytest.mark.extended
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
