"""`dycoke verify`: end to end with the bundled model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.engine.kv_cache import Slots
from dycoke_cli.errors import ModelError
from dycoke_cli.models import load as load_module
from dycoke_cli.models.load_options import LoadOptions
from tests.cli.harness import run_here


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.extended
@pytest.mark.slow
def test_the_bundled_model_is_verified(here: Path) -> None:
    run = run_here("verify", "mini", "--dtype", "float32")
    assert run.code == 0
    assert run.out == "mini: verified\n"
    assert run.err.count("\nok ") == 5
    report = json.loads((here / "verify-mini.json").read_text())
    assert report["schema"] == "dycoke.verify/1"
    assert report["verdict"] == "verified"
    assert report["model"]["dtype"] == "float32"
    assert [step["verdict"] for step in report["steps"]] == ["ok"] * 5


@pytest.mark.extended
@pytest.mark.slow
def test_a_broken_engine_exits_with_1(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    arrange = Slots.arrange

    def wrong(self, active):
        swaps = arrange(self, active)
        return replace(swaps, target=swaps.target.roll(1, dims=0))

    monkeypatch.setattr(Slots, "arrange", wrong)
    run = run_here("verify", "mini", "--dtype", "float32", "--frames", "16")
    assert run.code == 1
    assert run.out == "mini: not verified\n"
    assert "failed  pruned, positions kept: same answers as the masked reference" in run.err
    assert (here / "verify-mini.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["verify", "nosuch"], 4, "there is no model 'nosuch'"),
        (["verify", "mini", "--out", "."], 2, "--out . is a folder"),
        (["verify", "mini", "--out", "a.txt"], 2, "--out a.txt: name a file that ends in .json"),
        (
            ["verify", "mini", "--out", "no/such/folder/x.json"],
            6,
            "there is no folder no/such/folder",
        ),
        (["verify", "mini", "--frames", "0"], 2, "--frames"),
    ],
)
def test_what_goes_wrong_is_a_sentence(arguments, code, says) -> None:
    run = run_here(*arguments)
    assert run.code == code
    assert says in run.err
    assert "Traceback" not in run.err
    assert [*Path().glob("*.json")] == []


def test_a_report_takes_the_place_of_no_device(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    run = run_here("verify", "nosuch", "--out", link)
    assert run.code == 6
    assert f"--out {link} isn't a file" in run.err
    assert list(tmp_path.iterdir()) == [link]


def test_how_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, LoadOptions]] = []

    def load(name: str, **how: Any) -> None:
        seen.append((name, LoadOptions(**how)))
        raise ModelError("that is all")

    monkeypatch.setattr(load_module, "load", load)
    run = run_here("verify", "mini", "--dtype", "float32", "--quantize", "int4")
    assert run.code == 4
    assert seen == [("mini", LoadOptions(dtype="float32", quantize="int4"))]
    run = run_here("verify", "mini", "--device-map", "auto", "--device", "cpu")
    assert "--device-map auto chooses the devices itself" in run.refusal
