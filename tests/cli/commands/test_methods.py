"""`dycoke methods`: every method, with the parameters that its flags really have."""

from __future__ import annotations

from typing import Any

import pytest

from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.registry import METHODS, create
from tests.cli.harness import run_here
from tests.documents import valid


def listed(*name: str) -> list[dict[str, Any]]:
    run = run_here("methods", *name, "--json")
    assert (run.code, run.err) == (0, "")
    assert valid(run.object, "methods", "methods")["default"] == "dycoke"
    methods: list[dict[str, Any]] = run.object["methods"]
    return methods


def test_all_methods_with_all_of_their_parameters() -> None:
    methods = {method["name"]: method for method in listed()}
    assert [*methods] == [*METHODS]
    for name, method in methods.items():
        assert [p["name"] for p in method["parameters"]] == [*create(name).parameters()]
    assert methods["fastv"]["acts"] == ["inside the language model"]
    assert methods["fastv"]["paper"] == "arXiv 2403.06764, ECCV 2024"


def test_one_method() -> None:
    (dycoke,) = listed("dycoke")
    parameters = {p["name"]: p for p in dycoke["parameters"]}
    assert parameters["merge_ratio"] == {
        "name": "merge_ratio",
        "flags": ["--merge-ratio"],
        "symbol": "K",
        "help": "Fraction of a compared frame's tokens that TTM drops.",
        "default": 0.7,
        "default_in_words": "0.7",
        "range": "at least 0 and below 1",
        "switch": "ttm",
        "schema": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    }
    assert parameters["ttm"]["flags"] == ["--ttm", "--no-ttm"]
    assert parameters["prune_layer"]["default"] is None
    assert parameters["prune_layer"]["default_in_words"].startswith("the paper's 3, unless")
    ablations = {row["name"]: row["parameters"] for row in dycoke["ablations"]}
    assert DyCoke(**ablations["dycoke-once"]).recall is False


def test_names_are_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = run_here("methods").out.splitlines()
    assert {*METHODS} <= {line.split()[0] for line in lines if line.strip()}
    # Nothing is cut: what doesn't fit is on the next line.
    assert {*METHODS["evs"].summary.split()} <= {*" ".join(lines).split()}


def test_flags_that_are_listed_are_flags() -> None:
    page = run_here("ask", "--help-all").out
    for method in listed():
        for parameter in method["parameters"]:
            assert all(f"{flag} " in page for flag in parameter["flags"])


def test_a_line_for_each_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = run_here("methods")
    assert (run.code, run.err) == (0, "")
    lines = [line.rstrip() for line in run.out.splitlines()]
    assert len(lines) == len(METHODS) + 3
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[2 : len(METHODS) + 2]] == [*METHODS]
    told = dict(zip(METHODS, lines[2:], strict=False))
    for name, method in METHODS.items():
        assert f" {method.summary} " in told[name]
    # What is kept, or dropped, unless somebody says otherwise.
    assert told["dycoke"].endswith(" --merge-ratio 0.7")
    assert told["fastv"].endswith(" --prune-ratio 0.5")
    assert told["sparsevlm"].endswith("  mean_retain 0.35")  # which has no flag
    assert told["evs"].endswith(" --retain 0.25")
    assert told["random"].endswith(" --merge-ratio 0.7")
    assert told["none"].endswith(" –")
    assert "Default: dycoke." in run.out


def told(name: str) -> str:
    """What is told of a method, as running text."""
    run = run_here("methods", name)
    assert (run.code, run.err) == (0, "")
    return " ".join(run.out.split())


def test_all_that_is_known_of_a_method() -> None:
    assert told("none") == "none: keeps everything Acts: nowhere. Paper: none. Families: all."
    dycoke = told("dycoke")
    assert (
        f"dycoke (the default: its first stage alone): {METHODS['dycoke'].summary} Acts" in dycoke
    )
    assert "Acts: inside the vision tower, before the language model, in decode. Paper" in dycoke
    assert "kv, stage 2 alone" in dycoke
    assert "Range: at least 0 and below 1. Default: 0.7." in dycoke
    assert "all but gemma4_unified; in decode all but qwen3_5, qwen3_5_moe, gemma4" in dycoke
    evs = told("evs")
    assert "the vision tower, before the language model. Paper: arXiv 2510.14624. Fam" in evs
    assert "Families: inside the vision tower all but perception_lm, gemma4, gemma4_un" in evs
    # Those that choose by its attention don't merge in it.
    zip_ = told("visionzip")
    assert "the language model. Needs the vision encoder's attention. Paper: arXiv 2412" in zip_
    assert "Families: llava_onevision, llava_next_video, video_llava, internvl, smolvlm." in zip_
    assert "--merge-ratio K" in told("random")
    assert "Flags of ask and batch; --method evs:name=value,… sets all of them." in evs
    assert told("dycoke_plus") == told("dycoke-plus")


def test_an_ablation_is_on_the_page_of_its_method() -> None:
    assert run_here("methods", "ttm").out == run_here("methods", "dycoke").out
