"""`dycoke verify`: end to end with the bundled model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dycoke_cli.engine.kv_cache import Slots
from dycoke_cli.errors import ModelError
from dycoke_cli.models import load as load_module
from dycoke_cli.models.load_options import LoadOptions
from tests.cli.harness import run_here


@pytest.mark.extended
def test_the_bundled_model_is_verified() -> None:
    run = run_here("verify", "mini", "--dtype", "float32", "--json")
    assert run.code == 0
    assert run.err.count("\nok ") == 5
    report = run.object
    assert report["schema"] == "dycoke.verify/1"
    assert report["verdict"] == "verified"
    assert report["model"]["dtype"] == "float32"
    assert [step["verdict"] for step in report["steps"]] == ["ok"] * 5


@pytest.mark.extended
def test_a_broken_engine_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    arrange = Slots.arrange

    def wrong(self, active):
        swaps = arrange(self, active)
        return replace(swaps, target=swaps.target.roll(1, dims=0))

    monkeypatch.setattr(Slots, "arrange", wrong)
    run = run_here("verify", "mini", "--dtype", "float32", "--frames", "16")
    assert run.code == 1
    assert run.out == "mini: not verified\n"
    assert "failed  pruned, positions kept: same answers as the masked reference" in run.err


def test_frames_below_the_range_are_refused() -> None:
    assert "--frames" in run_here("verify", "mini", "--frames", "0").refusal


def test_how_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, LoadOptions]] = []

    def load(name: str, **how: Any) -> None:
        seen.append((name, LoadOptions(**how)))
        raise ModelError("that is all")

    monkeypatch.setattr(load_module, "load", load)
    run = run_here("verify", "mini", "--dtype", "float32", "--quantize", "int4")
    assert run.code == 4
    assert run.err.startswith("Loading mini; ")
    assert seen == [("mini", LoadOptions(dtype="float32", quantize="int4"))]
    run = run_here("verify", "mini", "--device-map", "auto", "--device", "cpu")
    assert "--device-map auto chooses the devices itself" in run.refusal
