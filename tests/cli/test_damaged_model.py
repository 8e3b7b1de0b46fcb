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


def test_ask(damaged: Path) -> None:
    ask = ("ask", CLIP, "What happens?", "--frames", "2", "--quiet", "--model", damaged)
    run = run_here(*ask)
    assert (run.code, run.out) == (4, "")
    assert run.err.startswith(f"Error: {SENTENCE}")
    assert len(run.err.splitlines()) == 1
    run = run_here(*ask, "--json")
    assert run.code == 4
    assert run.object["error"]["code"] == "model_unavailable"
    assert "answer" not in run.object


def test_batch(damaged: Path, tmp_path: Path) -> None:
    shutil.copy(CLIP, tmp_path)
    out = tmp_path / "answers.jsonl"
    run = run_here(
        "batch", tmp_path, "What happens?", "--frames", "2", "--quiet", "--model", damaged,
        "--out", out,
    )  # fmt: skip
    # Every other clip would hear the same: it ends the run, and nothing is written about one.
    assert run.code == 4
    assert run.err.startswith(f"Error: {SENTENCE}")
    assert out.read_text() == ""


def test_eval(damaged: Path, tmp_path: Path) -> None:
    run = run_here(
        "eval", "shapes", "--methods", "none", "--limit", "1", "--frames", "2", "--quiet",
        "--workers", "1", "--model", damaged, "--out", tmp_path,
    )  # fmt: skip
    assert (run.code, run.out) == (4, "")
    assert run.err.startswith(f"Error: {SENTENCE}")
