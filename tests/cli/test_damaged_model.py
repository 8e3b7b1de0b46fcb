"""A checkpoint whose weights aren't numbers is an error in every command that asks it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from tests.cli.harness import CLIP, run_here

SENTENCE = "the model can't be used: its logits aren't finite at token 1 of an answer"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint with one weight of a layer that isn't a number."""
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(BUNDLED_CHECKPOINT, folder, dirs_exist_ok=True)
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["language_model.model.layers.1.mlp.down_proj.weight"][3, 5] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    return folder


SMALL = ("--frames", "2", "--quiet")
COMMANDS = {
    "ask": ("ask", CLIP, "What happens?", *SMALL),
    # Every other clip would fail alike: it ends the run, and nothing is written about one.
    "batch": ("batch", CLIP, "What happens?", *SMALL, "--out", "answers.jsonl"),
    "eval": ("eval", "shapes", "--methods", "none", "--limit", "1", "--workers", "1", *SMALL),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_one_sentence(
    command: str, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_here(*COMMANDS[command], "--model", damaged)
    assert (run.code, run.out) == (4, "")
    assert run.err.startswith(f"Error: {SENTENCE}")
    assert len(run.err.splitlines()) == 1
    if command == "batch":
        assert Path("answers.jsonl").read_text() == ""
