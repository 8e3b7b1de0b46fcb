"""The tables of methods, from answers that were made up: no model is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import method_pages, methods
from benchmarks.cells import correct, points
from benchmarks.method_figures import is_absent
from benchmarks.raw_answers import read_answers
from dycoke_cli.evaluation.datasets import open_dataset
from tests.benchmarks.made_up_answers import VIDEOS, table_of
from training.curves import HEIGHT_PX, WIDTH_PX

# Making up the answers of all tables takes ten seconds.
pytestmark = [pytest.mark.extended, pytest.mark.slow]


def test_figures_are_those_of_the_answers(measured: Path, models: Mapping[str, Any]) -> None:
    document = models["shipped"]["budgets"]
    items = {item.id: item for item in open_dataset("shapes").items("test", VIDEOS)}
    raw = read_answers(measured / "data" / "shipped" / "budgets.jsonl.xz")
    for row in document["rows"]:
        if row["method"] != "evs":
            continue
        right = {key: answer.right for key, answer in raw.answers[row["spec"]].items()}
        assert {*right} == {*items}
        assert row["accuracy"] == pytest.approx(sum(right.values()) / len(right))
        absent = [said for key, said in right.items() if is_absent(items[key])]
        more = document["more"][row["spec"]]
        assert more["absent"]["questions"] == len(absent) > 0
        assert more["absent"]["accuracy"] == pytest.approx(sum(absent) / len(absent))
        # Of each video the longest, which reused nothing.
        assert more["seconds_whole_prefill"] == pytest.approx(0.3)
        assert row["seconds_prefill"] < 0.1
        assert row["seconds_decode"] == pytest.approx(0.2)


def told(pair: Mapping[str, Any]) -> str:
    return f"{points(pair['difference'])} ± {100 * pair['difference_plus_minus']:.1f}"


def rows_of(document: Mapping[str, Any]) -> dict[str, Any]:
    return {row["spec"]: row for row in document["rows"]}


def test_the_tables_have_the_figures(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
    parts = ["", "-full", "-ahead", "-others", "-models", "-kinds", "-positions", "-layers"]
    parts += ["-windows", "-plus", "-vision", "-whole", "-near", "-validation", "-larger"]
    names = [f"methods{part}" for part in parts] + ["methods-one"]
    names += [f"methods-{part}" for part in ("int8", "fair", "equal-cost-kinds")]
    names += ["methods-fair-ahead"]
    names += ["methods-choice", "methods-by-kind"]
    names[names.index("methods-int8") : names.index("methods-int8")] = ["methods-mini"]
    names += ["methods-frames", "methods-plus-frames"]
    assert [*pages] == names
    document = models["shipped"]["budgets"]
    rows = rows_of(document)
    headings, short = table_of(pages["methods"])
    assert headings == ["method", "25 % kept", "10 % kept"]
    assert short["`evs`"][2] == told(rows["evs:retain=0.1:positions=kept"])
    assert "`dycoke`, L = 9 of 10: " in pages["methods"].partition("Without a budget")[2]
    other = rows_of(models["control"]["budgets"])["evs:retain=0.1:positions=kept"]
    assert table_of(pages["methods-others"])[1]["`evs`"][2] == told(other)
    assert pages["methods-others"].startswith("`control`:\n\n| method | 25 % kept")
    base = rows_of(models["control"]["budgets"])["none"]
    assert (
        f"On `control` ({correct(base)} % correct uncompressed), the rows of this table were "
        "compared. At 25 % kept, `dycoke-plus` leads"
    ) in pages["methods-others"]
    assert f", `control` {correct(base)} %. " in pages["methods-ahead"]
    assert "`control`: 16 tokens per frame, 10 layers, trained" in pages["methods-ahead"]
    questions = document["rows"][0]["questions"]
    for name, text in pages.items():
        split = "validation" if name.endswith(("-validation", "-larger", "-choice")) else "test"
        assert f"{VIDEOS} videos, {questions} questions each row, {split} split" in text
        assert ", commit abc1234." in text
    positions = table_of(pages["methods-positions"])
    document = models["control"]["positions"]
    rows = rows_of(document)
    kept, moved = (rows[f"evs:retain=0.25:positions={one}"] for one in methods.POSITIONS)
    evs = document["pairs"]["evs:retain=0.25:positions=kept"]
    assert evs["difference"] == pytest.approx(moved["accuracy"] - kept["accuracy"])
    assert evs["difference_error"] != pytest.approx(moved["difference_error"])
    assert positions[0][-1] == "control: contiguous − original"
    assert positions[1]["`evs`"][-1] == told(evs)
    ahead = table_of(pages["methods-ahead"])
    assert ahead[0][0] == "dycoke-plus minus"
    document = models["shipped"]["budgets"]
    rows = rows_of(document)
    assert len(document["ahead"]) == 2 * len(ahead[1])
    for spec, pair in document["ahead"].items():
        assert (
            pair["accuracy"]
            == rows[spec.replace(spec.partition(":")[0], "dycoke-plus")]["accuracy"]
        )
        assert pair["difference"] == pytest.approx(pair["accuracy"] - rows[spec]["accuracy"])
    assert "`dycoke-plus`" not in ahead[1]
    assert {"`evs`", "`random`", "`cdpruner`"} < {*ahead[1]}
    at_quarter = document["ahead"]["evs:retain=0.25:positions=kept"]
    assert ahead[1]["`evs`"][1 + [*methods.BUDGETS].index(0.25)] == told(at_quarter)
    vision = table_of(pages["methods-vision"])
    assert vision[0][-1] == "inside − behind"
    document = models["shipped"]["vision"]
    pair = document["pairs"]["ttm:positions=kept:merge_stage=llm"]
    assert vision[1]["`ttm`"][1:] == ["44 %", *vision[1]["`ttm`"][2:4], told(pair)]
    assert len(document["pairs"]) == (len(document["rows"]) - 1) / 2
    layers = [line for line in pages["methods-layers"].splitlines() if line.startswith("| `")]
    asked = [f"{layer} of 10" for layer in (3, 5, 7, 8, 9, 2, 9)]
    assert [line.split(" | ")[1] for line in layers] == asked
    assert "| shipped | baseline |" in pages["methods-frames"]


def test_the_model_with_most_tokens_comes_first_if_it_knows_enough(
    measured: Path, tmp_path: Path
) -> None:
    raw = read_answers(measured / "data" / "shipped" / "whole.jsonl.xz")
    raw.write(tmp_path)
    wide = {
        row: {
            key: replace(one, right=True, visual=2048) if row == "none" else one
            for key, one in said.items()
        }
        for row, said in raw.answers.items()
    }
    header = replace(raw.header, name="tokens-64")
    replace(raw, header=header, answers=wide).write(tmp_path)
    models = method_pages.read_documents(tmp_path)
    assert [*models] == ["tokens-64", "shipped"]
    pages = method_pages.texts_of(models)
    assert table_of(pages["methods-one"])[0] == [
        "method", "as it is", "25 % kept", "10 % kept",
    ]  # fmt: skip
    told = "`tokens-64`: 64 tokens per frame, 10 layers, the bundled model trained"
    assert told in pages["methods-one"]
    ignorant = {**wide, "none": {k: replace(v, right=False) for k, v in wide["none"].items()}}
    replace(raw, header=header, answers=ignorant).write(tmp_path)
    assert [*method_pages.read_documents(tmp_path)] == ["shipped", "tokens-64"]
    # Where it was asked on validation videos, those decide.
    seen = read_answers(measured / "data" / "shipped" / "knows.jsonl.xz")
    for right, first in ((True, "tokens-64"), (False, "shipped")):
        said = {key: replace(one, right=right) for key, one in seen.answers["none"].items()}
        header = replace(seen.header, name="tokens-64")
        replace(seen, header=header, answers={"none": said}).write(tmp_path)
        assert next(iter(method_pages.read_documents(tmp_path))) == first
    pages = method_pages.texts_of(method_pages.read_documents(tmp_path))
    told = "Without compression `tokens-64` answers 0.0 ± 0.0 % of 17 questions about 2 videos"
    assert told not in pages["methods-one"]
    assert told in pages["methods-whole"]


def test_listed_tables_are_kept_and_the_picture_is_drawn(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, picture = dict[str, str](), tmp_path / "methods.png"
    monkeypatch.setattr(method_pages, "keep", lambda text, name: kept.update({name: text}))
    monkeypatch.setattr(method_pages, "listed", lambda: ["frames", "methods", "methods-layers"])
    monkeypatch.setattr(method_pages, "PICTURE", picture)
    flags = ["--data", str(measured / "data"), "--report", "--write"]
    monkeypatch.setattr(sys, "argv", ["methods", *flags])
    methods.main()
    assert [*kept] == ["methods", "methods-layers"]
    assert kept["methods"].startswith("| method | 25 % kept")
    assert "| `dycoke` | 3 of 10 |" in kept["methods-layers"]
    with Image.open(picture) as written:
        assert written.size == (WIDTH_PX, HEIGHT_PX)
