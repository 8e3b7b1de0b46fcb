"""Every architecture: it trains, resumes, and is exported as a checkpoint that answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from dycoke_cli import DyCoke, Sampling, Uncompressed, VideoSession, load, read
from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.architectures import ARCHITECTURES, BUNDLED, SIDE, Architecture
from training.batches import Shape
from training.checkpoints import export_run, imitated_weights, start_from, write_checkpoint
from training.curriculum import Recipe, Stage
from training.trainer import Trainer
from training.world.samples import DEMO

from .parts import batch_of, parts

QWEN = ARCHITECTURES["qwen2.5-vl"]
TINY = Shape(videos=2, frames=4, text=64)
EYES = Shape(videos=3, frames=1, text=0, vision_only=True)
STAGES = (Stage("a", ((EYES, 1.0),), 1.1, 0.5), Stage("b", ((TINY, 1.0),), 1.1, 1))


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_it_trains_resumes_and_answers(architecture: Architecture, tmp_path: Path) -> None:
    recipe = replace(Recipe(), steps=2, curriculum=STAGES, warmup=1, architecture=architecture.name)
    trainer = Trainer(recipe, tmp_path / "run")
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.run(lambda *_: None)
    after = trainer.model.state_dict()
    # Every matrix has learned something, those of the tower too.
    same = [name for name in before if torch.equal(before[name], after[name])]
    assert not [name for name in same if before[name].ndim == 2]
    again = Trainer(replace(recipe, steps=3), tmp_path / "run")
    assert all(
        torch.equal(weight, after[name]) for name, weight in again.model.state_dict().items()
    )
    other = next(name for name in ARCHITECTURES if name != architecture.name)
    with pytest.raises(ModelError, match=f"was started with --architecture {architecture.name}"):
        Trainer(replace(recipe, architecture=other), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    loaded = load(str(tmp_path / "out"), device="cpu")
    session = VideoSession(loaded, read(DEMO, Sampling(frames=8)))
    for method in (Uncompressed(), DyCoke()):
        answer = session.ask("What does the star do?", method, max_tokens=2)
        assert answer.tokens.visual == architecture.steps(8) * 16
    assert answer.tokens.visual_kept < answer.tokens.visual


def test_another_family_begins_with_the_bundled_language_model(tmp_path: Path) -> None:
    _, processor, _ = parts(SIDE, QWEN)
    tokenizer = processor.tokenizer
    torch.manual_seed(1)
    model = QWEN.model(tokenizer)
    tower = model.model.visual.blocks[0].attn.qkv.weight.clone()
    assert start_from(model, tokenizer, BUNDLED_CHECKPOINT)
    bundled = load(str(BUNDLED_CHECKPOINT), device="cpu", dtype="float32").model
    theirs = bundled.get_decoder().state_dict()
    ours = model.get_decoder().state_dict()
    layers = [name for name in theirs if "embed_tokens" not in name]
    assert all(torch.equal(ours[name], theirs[name]) for name in layers)
    ids = PreTrainedTokenizerFast.from_pretrained(BUNDLED_CHECKPOINT).get_vocab()
    star = ours["embed_tokens.weight"][tokenizer.get_vocab()["star"]]
    assert torch.equal(star, theirs["embed_tokens.weight"][ids["star"]])
    assert torch.equal(model.model.visual.blocks[0].attn.qkv.weight, tower)
    # Then it imitates that model; the bundled architecture learns nothing from another family.
    assert imitated_weights(QWEN, BUNDLED_CHECKPOINT, SIDE) is not None
    assert imitated_weights(BUNDLED, BUNDLED_CHECKPOINT, SIDE) is None
    write_checkpoint(model, tmp_path / "qwen", QWEN)
    _, processor, own = parts()
    with pytest.raises(ModelError, match="no checkpoint of such a model"):
        start_from(own, processor.tokenizer, tmp_path / "qwen")


def test_pairs_of_frames_are_steps() -> None:
    shape = Shape(videos=2, frames=6, grid=8, text=40, architecture=QWEN)
    batch = batch_of(3, shape)
    # 6 of 8 frames are 3 of 4 pairs, each 8 x 8 patches of two frames.
    assert batch.pixels.shape == (2, 3 * 64, 3 * 2 * 8 * 8)
    assert batch.seen.shape == (2, 3, 16, 9)
    assert batch.positions.shape == (3, 2, shape.prefix + 40)
    assert batch.dropped.shape == (2, shape.prefix + 40)
    # Time rises from pair to pair, rows and columns are those of the frame, text goes on behind.
    times, rows, columns = batch.positions[:, 0, 3 : 3 + 3 * 16].unflatten(1, (3, 16))
    assert (times == times[:, :1]).all()
    assert times[0, 0] == 3
    assert (times[:, 0].diff() > 0).all()
    assert rows[1].tolist() == [3 + i // 4 for i in range(16)]
    assert columns[2].tolist() == [3 + i % 4 for i in range(16)]
    assert batch.positions[:, 0, 3 + 3 * 16 : 3 + 3 * 16 + 2].tolist() == [[7, 8]] * 3


def test_a_single_picture_is_a_pair_of_its_own() -> None:
    batch = batch_of(3, Shape(videos=2, frames=1, text=0, vision_only=True, architecture=QWEN))
    pair = batch.pixels.view(2, 64, 3, 2, 64)
    assert torch.equal(pair[:, :, :, 0], pair[:, :, :, 1])
    assert batch.seen.shape == (2, 1, 16, 9)
