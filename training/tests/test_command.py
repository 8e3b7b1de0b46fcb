"""`python -m training`: a run from its first step to a checkpoint that loads."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration
from typer.testing import CliRunner, Result

from training import __main__ as program
from training import curriculum as recipes
from training.batches import Shape
from training.curriculum import Recipe, Stage

ROOT = Path(__file__).parents[2]
STAGE = Stage(
    "vision tower", ((Shape(videos=2, frames=1, text=0, vision_only=True), 1.0),), 1.1, 1.0
)


def run_here(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program.app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture(autouse=True)
def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stage of tiny batches, a line of the log a step."""
    monkeypatch.setattr(program, "Recipe", lambda: replace(recipes.Recipe(), curriculum=(STAGE,)))
    monkeypatch.setattr(program, "LOG_EVERY", 1)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return LlavaOnevisionForConditionalGeneration.from_pretrained(folder).state_dict()


@pytest.mark.extended
@pytest.mark.slow
def test_train_export_and_begin_with_what_was_exported(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert run_here("train", "--run", run, "--steps", "2", "--seed", "7").exit_code == 0
    assert run_here("train", "--run", run, "--steps", "3", "--seed", "7").exit_code == 0
    log = [json.loads(text)["step"] for text in (run / "log.jsonl").read_text().splitlines()]
    assert log == [1, 2, 3]
    done = run_here("export", "--run", run, "--out", out)
    assert done.exit_code == 0
    assert "17.2 MB" in done.stderr
    begun = ("train", "--run", tmp_path / "next", "--steps", "1", "--begin", out)
    assert run_here(*begun).exit_code == 0
    state = torch.load(tmp_path / "next" / "state.pt", weights_only=True)["model"]
    before = weights(out)
    # At first the probes learn alone.
    name = "model.vision_tower.encoder.layers.2.mlp.fc1.weight"
    assert torch.equal(state[name], before[name].float())
    # Resumed with other options it would be another run.
    other = run_here(*begun[:-2], "--no-dropout")
    assert other.exit_code == 4
    assert "was started with --dropout: give that again, or another folder" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["export", "--run", "nowhere"], 6, "nowhere holds no training run: train one first."),
        (["train", "--run", "new", "--begin", "nowhere"], 4, "nowhere can't be begun with"),
        (
            ["kept", "third"],
            2,
            "no weights are kept as third: give second or tokens-64 or long.",
        ),
        (["train", "--run", "damaged"], 4, "state.pt is damaged or of another configuration"),
    ],
)
def test_errors_in_a_sentence(
    arguments: list[str], code: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "state.pt").write_bytes(b"PK\x03\x04 torn")
    done = run_here(*arguments)
    assert done.exit_code == code
    assert sentence in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", program.KEPT)
def test_weights_of_the_history(name: str, tmp_path: Path) -> None:
    commit, _, folder = program.KEPT[name].partition(":")
    if subprocess.run(["git", "cat-file", "-e", f"{commit}:{folder}"], cwd=ROOT).returncode:
        pytest.skip("a clone without its history")
    assert run_here("kept", name, "--out", tmp_path).exit_code == 0
    for file in tmp_path.iterdir():
        show = ["git", "show", f"{commit}:{folder}/{file.name}"]
        whole = subprocess.run(show, cwd=ROOT, capture_output=True, check=True).stdout
        assert file.read_bytes() == whole
    assert (tmp_path / "config.json").exists()
    assert (tmp_path / "model.safetensors").stat().st_size > 10**7


def test_the_numbers_are_those_of_the_recipe() -> None:
    text = run_here("train", "--help").output
    assert str(Recipe.steps) in text.replace(",", "")
    for flag in ("--run", "--steps", "--seed", "--device", "--begin", "--no-dropout"):
        assert flag in text


def test_the_page_names_every_command_and_no_other() -> None:
    named = re.findall(r"python -m training (\w+)", (ROOT / "training" / "README.md").read_text())
    assert {*named} == {command.callback.__name__ for command in program.app.registered_commands}
