"""A run's state that is damaged is passed over, with a sentence; a run begins with a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from dycoke_cli import DyCoke, Sampling, VideoSession, load, read
from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.checkpoints import (
    BEFORE,
    STATE,
    WORDS,
    export_run,
    is_kept,
    keep,
    start_from,
    take_up,
    write_checkpoint,
)
from training.model import new_model
from training.tokenizer import build_tokenizer
from training.world.samples import DEMO


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


@pytest.mark.parametrize("left", [0, 10, 5000, None])
def test_of_one_that_is_torn_or_does_not_fit_the_one_before_is_used(
    run: Path, left: int | None
) -> None:
    if left is None:
        torch.save({"something": "else"}, run / STATE)
    else:
        (run / STATE).write_bytes((run / STATE).read_bytes()[:left])
    used, (told,) = taken_up(run)
    assert used == [1]
    assert told == (
        f"{run / STATE} is damaged or of another configuration: the state before it is used."
    )


def test_a_kill_between_the_two_moves_loses_nothing(run: Path) -> None:
    (run / STATE).rename(run / BEFORE)
    assert is_kept(run)
    assert taken_up(run) == ([2], [])


def test_none_that_fits_is_an_error(run: Path) -> None:
    for name in (STATE, BEFORE):
        (run / name).write_bytes(b"")
    with pytest.raises(ModelError, match=r"state.pt .* and .*before.pt .*: train in another"):
        taken_up(run)


def test_what_the_checkpoint_has_is_there_afterwards() -> None:
    """All but its words as a whole, and those by what they say."""
    stored = load(str(BUNDLED_CHECKPOINT), device="cpu", dtype="float32").model.state_dict()
    tokenizer = build_tokenizer()
    model = new_model(tokenizer)
    start_from(model, tokenizer, BUNDLED_CHECKPOINT)
    theirs = PreTrainedTokenizerFast.from_pretrained(BUNDLED_CHECKPOINT).get_vocab()
    for name, weight in model.state_dict().items():
        if name.endswith(WORDS):
            ours = weight[tokenizer.get_vocab()["circle"]]
            assert torch.equal(ours, stored[name][theirs["▁circle"]])
        else:
            assert torch.equal(weight, stored[name])


def test_a_run_becomes_an_ordinary_checkpoint(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    keep({"model": new_model(tokenizer).state_dict()}, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    loaded = load(str(tmp_path / "out"), device="cpu")
    # Room for 32 frames and a question.
    assert loaded.context_length > 32 * 16 + 200
    assert loaded.processor.tokenizer.model_max_length == loaded.context_length
    session = VideoSession(loaded, read(DEMO, Sampling(frames=2)))
    answer = session.ask("What does the star do?", DyCoke(), max_tokens=1)
    assert answer.tokens.visual == 2 * 16


@pytest.mark.parametrize(
    "kind", ["nothing", "empty", "torn", "of fewer layers", "of larger frames"]
)
def test_what_is_no_checkpoint_is_told_in_a_sentence(kind: str, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    model, checkpoint = new_model(tokenizer), tmp_path / "checkpoint"
    if kind == "of fewer layers":
        smaller = new_model(tokenizer)
        del smaller.get_decoder().layers[6:]
        smaller.config.text_config.num_hidden_layers = 6
        smaller.config.text_config.layer_types = None
        write_checkpoint(smaller, checkpoint)
    elif kind == "of larger frames":
        larger = new_model(tokenizer)
        larger.model.vision_tower.embeddings.position_embedding = torch.nn.Embedding(256, 128)
        larger.config.vision_config.image_size = 128
        write_checkpoint(larger, checkpoint)
    elif kind != "nothing":
        shutil.copytree(BUNDLED_CHECKPOINT, checkpoint)
        torn = checkpoint / "model.safetensors"
        torn.write_bytes(torn.read_bytes()[: 1000 if kind == "torn" else 0])
    with pytest.raises(ModelError, match=r"can't be begun with: it is damaged, or no checkpoint"):
        start_from(model, tokenizer, checkpoint)
