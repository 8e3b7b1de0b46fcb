"""The tables of methods, from answers that were made up: no model is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import method_pages, methods
from benchmarks.cells import correct, points
from benchmarks.method_figures import alike_of, is_absent
from benchmarks.method_sentences import without_effect
from benchmarks.method_tables import rows_table
from benchmarks.methods import evaluation_of
from benchmarks.raw_answers import read_answers
from dycoke_cli.cli.plots.plot_style import HEIGHT_PX, WIDTH_PX, apart
from dycoke_cli.evaluation.datasets import open_dataset
from tests.benchmarks.made_up_answers import VIDEOS, arguments, table_of


@pytest.mark.extended
@pytest.mark.slow
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
        assert more["absent"]["value"] == pytest.approx(sum(absent) / len(absent))
        # Of each video the longest, which reused nothing.
        assert more["seconds_whole_prefill"] == pytest.approx(0.3)
        assert row["seconds_prefill"] < 0.1
        assert row["seconds_decode"] == pytest.approx(0.2)


def told(pair: Mapping[str, Any]) -> str:
    return f"{points(pair['difference'])} ± {100 * pair['difference_error']:.1f}"


def rows_of(document: Mapping[str, Any]) -> dict[str, Any]:
    return {row["spec"]: row for row in document["rows"]}


@pytest.mark.slow
def test_the_tables_have_the_figures(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
    parts = ["", "-full", "-ahead", "-others", "-models", "-kinds", "-positions", "-layers"]
    parts += ["-windows", "-plus", "-vision", "-whole", "-near", "-validation", "-larger"]
    parts += ["-proportional"]
    names = [f"methods{part}" for part in parts] + ["methods-one"]
    names += [f"methods-{part}" for part in ("int8", "fair", "equal-cost-kinds")]
    names += ["methods-fair-ahead"]
    names += ["methods-choice", "methods-by-kind"]
    names[names.index("methods-int8") : names.index("methods-int8")] = ["methods-mini"]
    names += ["methods-frames", "methods-plus-frames"]
    assert [*pages] == names
    assert "| `kv-own:prune_ratio=0.95` | 100 % | 100 % | " in pages["methods-plus"]
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
        split = (
            "validation"
            if name.endswith(("-validation", "-larger", "-choice", "-proportional"))
            else "test"
        )
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
            pair["value"] == rows[spec.replace(spec.partition(":")[0], "dycoke-plus")]["accuracy"]
        )
        assert pair["difference"] == pytest.approx(pair["value"] - rows[spec]["accuracy"])
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


def test_the_tables_of_the_whole_split(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
    document = models["shipped"]["whole"]
    rows, ahead = pages["methods-whole"].split("\n\n")[:2]
    assert "| `dycoke:prune_layer=3`, L = 3 of 10 | 44 % |" in rows
    assert table_of(ahead)[0][0] == "dycoke-plus minus"
    assert table_of(ahead)[1]["`evs`"][1] == told(document["ahead"]["evs:retain=0.25"])
    headings, cells = table_of(pages["methods-one"])
    parts = ("as it is", "25 % kept", "10 % kept")
    assert headings == [
        "method", *(f"{name}: {part}" for name in ("shipped", "control") for part in parts),
    ]  # fmt: skip
    own, paper = "`dycoke`, L = 9 of 10", "`dycoke`, L = 3 of 10"
    assert [*cells][:4] == ["baseline", own, paper, "`dycoke-plus`"]
    row = rows_of(document)["dycoke"]
    assert cells[own][1] == f"{told(row)} (44 % kept, decode reads 44 %)"
    for number, name in enumerate(("shipped", "control")):
        at_tenth = rows_of(models[name]["whole"])["evs:retain=0.1"]
        assert cells["`evs`"][3 * number + 3] == told(at_tenth)


def test_models_that_read_different_shares_have_one_each(models: Mapping[str, Any]) -> None:
    first, other = (models[name]["whole"] for name in ("shipped", "control"))
    rows = [{**row, "kept_in_decode": 0.5} for row in other["rows"] if row["method"] == "dycoke"]
    rows += [row for row in other["rows"] if row["method"] != "dycoke"]
    lines = table_of(rows_table({"shipped": first, "control": {**other, "rows": rows}}))[1]
    assert lines["`dycoke`, L = 9 of 10"][1:3] == ["44 %", "44 % / 50 %"]
    assert lines["`evs:retain=0.25`"][1:3] == ["25 %", "25 %"]


def test_sentences_about_the_tables(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
    whole = {name: models[name]["whole"] for name in ("shipped", "control")}
    drawn = [points(rows_of(one)["random:retain=0.25"]["difference"]) for one in whole.values()]
    ahead = [points(one["ahead"]["evs:retain=0.1"]["difference"]) for one in whole.values()]
    for name in ("methods-one", "methods-whole"):
        assert "The same row on the bundled model and `control`: `random`" in pages[name]
        assert f"at 25 % {' and '.join(drawn)}; `dycoke-plus` minus" in pages[name]
        assert f"at 10 % {' and '.join(ahead)}." in pages[name]
    rows = rows_of(models["shipped"]["plus"])
    costs = [
        f"{-100 * rows[spec]['difference']:.1f} ± {100 * rows[spec]['difference_error']:.1f}"
        for spec in (
            "dycoke-plus:retain=0.25:positions=renumbered", "dycoke-plus:retain=0.25",
        )
    ]  # fmt: skip
    said = f"costs the bundled model {costs[0]} points, with original ones {costs[1]} (2 videos, "
    assert f"{said}{correct(rows['none'])} % correct uncomp" in pages["methods-one"]
    fair = rows_of(models["shipped"]["fair"])
    default, chosen = (
        fair[f"cdpruner:{one}retain=0.25"]["accuracy"] for one in ("", "relevance_weight=0.5:")
    )
    said = pages["methods-choice"].partition("<details>")[0]
    assert f"`cdpruner` {points(chosen - default)} ± " in said


def test_settings_that_change_nothing_are_named(measured: Path, models: Mapping[str, Any]) -> None:
    choice = models["shipped"]["choice"]
    assert without_effect({**choice, "alike": {}}) == ""
    same = [row["spec"] for row in choice["rows"] if row["method"] == "earlytom"]
    alike = dict.fromkeys(same[1:], same[0])
    assert without_effect({**choice, "alike": alike}).startswith("`earlytom`: all 3 settings gave")
    assert without_effect({**choice, "alike": {same[1]: same[0]}}) == ""
    said = read_answers(measured / "data" / "shipped" / "choice.jsonl.xz").answers["none"]
    one = {**said, next(iter(said)): replace(next(iter(said.values())), said="Another.")}
    assert alike_of({"a": said, "b": said, "c": one, "d": said}) == {"b": "a", "d": "a"}


def test_the_table_by_kind_of_the_bundled_model(
    models: Mapping[str, Any], pages: Mapping[str, str]
) -> None:
    rows = rows_of(models["shipped"]["whole"])
    headings, lines = table_of(pages["methods-mini"])
    assert headings == ["kind", "questions", "correct, %", "`dycoke`, L = 9 of 10", "difference"]
    kinds = rows["none"]["by_type"]
    assert {*kinds} < {*lines}
    one, other = (rows[spec]["by_type"]["order"] for spec in ("none", "dycoke"))
    assert lines["order"][1] == str(one["questions"])
    assert lines["order"][2].startswith(f"{100 * one['accuracy']:.1f} ± ")
    assert lines["order"][4] == told(other)
    assert lines["all"][4] == told(rows["dycoke"])
    mean = rows["dycoke"]["by_part"]["ordered"]["mean"]
    assert lines["in the right order"][3].startswith(f"{100 * mean:.1f} ± ")


def test_proportional_attention_against_all_others(
    measured: Path, models: Mapping[str, Any], pages: Mapping[str, str]
) -> None:
    raw = read_answers(measured / "data" / "shipped" / "proportional.jsonl.xz")
    pairs = models["shipped"]["proportional"]["ahead_proportional"]
    own = raw.answers["dycoke-plus:proportional=true:retain=0.1"]
    at_tenth = {text: said for text, said in raw.answers.items() if text.endswith("retain=0.1")}
    assert {text for text in pairs if text.endswith("=0.1")} | {
        "dycoke-plus:proportional=true:retain=0.1"
    } == {*at_tenth}
    for text, pair in pairs.items():
        if text in at_tenth:
            apart = [own[i].right - said.right for i, said in at_tenth[text].items()]
            assert pair["difference"] == pytest.approx(sum(apart) / len(apart))
    # As it is by itself, others are as they are by themselves.
    assert not any("proportional" in text for text in models["shipped"]["proportional"]["ahead"])
    *_, last, _ = pages["methods-proportional"].split("\n\n")
    headings, lines = table_of(last)
    assert headings[0] == "`dycoke-plus` + proportional minus"
    assert lines["`maxmin` + merging + proportional"][2] == told(
        pairs["maxmin:merge_dropped=true:proportional=true:retain=0.1"]
    )
    assert "`dycoke-plus`" in lines


def test_methods_on_equal_terms(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
    document = models["shipped"]["fair"]
    rows, ahead = rows_of(document), document["ahead"]
    headings, lines = table_of(pages["methods-fair"])
    assert headings[1:4] == ["25 %: alone", "25 %: with merging", "25 %: dycoke-plus minus it"]
    alone, merged = (rows[f"evs:{m}retain=0.25"] for m in ("", "merge_dropped=true:"))
    assert lines["`evs`"][1:4] == [told(alone), told(merged), told(ahead[merged["spec"]])]
    assert lines["`flashvid`"][2] == ""
    assert lines["`flashvid`"][3] == told(ahead["flashvid:retain=0.25"])
    own = lines["`dycoke-plus`"]
    assert own[1] == told(rows["dycoke-plus:merge_dropped=false:retain=0.25"])
    assert own[2:4] == [told(rows["dycoke-plus:retain=0.25"]), ""]
    assert "`cdpruner`, relevance_weight = 0.5" in lines
    for pair in ahead.values():
        assert pair["value"] in {rows[f"dycoke-plus:retain={r}"]["accuracy"] for r in (0.25, 0.1)}
    behind = [pair for pair in ahead.values() if pair["difference"] < 2 * pair["difference_error"]]
    text = pages["methods-fair-ahead"].partition("± is one")[0].partition("uncompressed)")[2]
    assert text.count(" ± ") == len(behind)


def test_by_kind_of_question(measured: Path, models: Mapping[str, Any], pages: Any) -> None:
    """Counted from the answers: what a smaller picture tells, and what comes second."""
    raw = read_answers(measured / "data" / "shipped" / "whole.jsonl.xz")
    small = raw.answers["downsample:retain=0.25"]
    hard = [i.id for i in raw.items if raw.answers["none"][i.id].right and not small[i.id].right]
    evs = raw.answers["evs:retain=0.1"]
    mean = sum(evs[key].right for key in hard) / len(hard)
    more = models["shipped"]["whole"]["more"]["evs:retain=0.1"]
    assert more["hard"]["value"] == pytest.approx(mean)
    assert more["hard"]["difference"] == pytest.approx(mean - 1)
    headings, lines = table_of(pages["methods-by-kind"])
    assert f"downsampling wrong ({len(hard)})" in headings
    assert f"descriptions ({VIDEOS})" in headings
    # What parts the questions isn't told of itself.
    assert lines["`downsample`"][2] != ""
    (small,) = (x for x in pages["methods-by-kind"].splitlines() if "`downsample` | 25 %" in x)
    assert small.startswith("| `downsample` | 25 % |  |  | ")


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


def test_the_table_by_kinds(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
    lines = pages["methods-kinds"].splitlines()
    rows = models["shipped"]["kinds"]["rows"]
    cells = [line.strip("|").split("|") for line in lines if line.startswith("|")][2:]
    assert len(cells) == len(rows)
    for line, row in zip(cells, rows, strict=True):
        found = [cell.strip() for cell in line]
        assert found[9] == f"{100 * row['by_label']['static']['accuracy']:.1f}"
        assert found[8] == ("" if row["spec"] == "none" else told(row))
        share = row["parameters"].get("merge_ratio")
        if row["method"] in ("ttm", "dycoke", "dycoke-once", "random"):
            assert found[1] == f"{share:g}"
            assert found[3] == row["parameters"]["positions"]
    assert [cells[i][1].strip() for i in (12, 13)] == ["0.7", "0.7"]  # FastV, as many tokens


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


def test_a_table_without_answers_is_an_error(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method_pages, "listed", lambda: ["methods-gone"])
    with pytest.raises(SystemExit, match=r"lists methods-gone, and .* has no answers of it"):
        method_pages.write_tables(measured / "data", write=True)


def test_what_is_missing_is_left_out(measured: Path, tmp_path: Path) -> None:
    read_answers(measured / "data" / "shipped" / "layers.jsonl.xz").write(tmp_path)
    models = method_pages.read_documents(tmp_path)
    assert [*method_pages.texts_of(models)] == ["methods-layers"]
    with pytest.raises(SystemExit, match="has no answers"):
        method_pages.read_documents(tmp_path / "shipped")


def test_results_of_two_models_under_one_name_are_refused(measured: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("layers", "windows")):
        raw = read_answers(measured / "data" / "shipped" / f"{name}.jsonl.xz")
        model = {**raw.header.model, "weights": str(number)}
        replace(raw, header=replace(raw.header, model=model)).write(tmp_path)
    with pytest.raises(SystemExit, match="are of several models"):
        method_pages.read_documents(tmp_path)


def test_names_stand_apart() -> None:
    placed = apart([50.0, 49.0, 48.9, 30.0, 29.0, 10.0], 3)
    assert all(above - below >= 3 - 1e-9 for above, below in pairwise(placed))
    # Each lot stays around where it was, and what stands alone stays there.
    assert sum(placed[:3]) == pytest.approx(147.9)
    assert placed[3:] == pytest.approx([31.0, 28.0, 10.0])
    # A lot that grows takes in its neighbor.
    assert apart([12.0, 8.0, 8.0, 8.0], 3) == pytest.approx([13.5, 10.5, 7.5, 4.5])


def test_int8_stands_beside_full_weights_each_from_its_own_baseline(
    models: Mapping[str, Mapping[str, Any]], pages: Mapping[str, str]
) -> None:
    full, int8 = methods.int8()
    given = arguments(Path("nowhere"), "shipped")
    assert [evaluation_of(run, given).request.loading.quantize for run in (full, int8)] == [
        None,
        "int8",
    ]
    headings, lines = table_of(pages["methods-int8"])
    assert headings == ["row", "tokens kept", "float32", "int8"]
    for run, column in (("merged", 2), ("merged-int8", 3)):
        rows = rows_of(models["shipped"][run])
        base, row = rows["none"], rows["dycoke-plus:retain=0.25:merge_stage=vision"]
        assert lines["baseline"][column].startswith(f"{100 * base['accuracy']:.1f} ± ")
        cell = lines["`dycoke-plus`, merge_stage = vision"][column]
        apart = 100 * (row["accuracy"] - base["accuracy"])
        assert cell.startswith(f"{100 * row['accuracy']:.1f} ± ")
        assert f"({apart:+.1f} ± ".replace("-", "−") in cell
