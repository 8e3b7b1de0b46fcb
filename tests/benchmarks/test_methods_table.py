"""The fair table of methods, from answers that were made up: no model is asked."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import method_pages, methods
from benchmarks.cells import points
from benchmarks.method_choice import CANDIDATES, chosen
from benchmarks.method_figures import is_absent
from benchmarks.methods import Run, evaluation_of, export, specs_of
from benchmarks.raw_answers import read_answers
from dycoke_cli.cli.plotting import HEIGHT_PX, WIDTH_PX, apart
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.evaluation.answers import open_answers
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.method_row import KeptRow, kept_rows
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.models.resolve import choose
from dycoke_cli.param import parameters_of

VIDEOS = 2


def arguments(out: Path, name: str = "shipped") -> argparse.Namespace:
    return argparse.Namespace(
        out=out, name=name, model="mini", videos=VIDEOS, workers=1,
        dtype=methods.DTYPE,
    )  # fmt: skip


def made_up(row: KeptRow, item: Any, number: int, draw: random.Random) -> Prediction:
    """An answer that is the likelier wrong, the less is kept."""
    kept = row.method.kept_tokens(32, 16) / 512
    right = draw.random() < 0.4 + 0.55 * kept
    return Prediction(
        item=item.id,
        said=item.answer if right else "Something else.",
        right=right,
        parts={"told": 1.0, "ordered": 0.5} if item.kind == "description" else {},
        visual=512,
        visual_kept=int(512 * kept),
        visual_active=512 * kept,
        generated=5,
        seconds=0.5,
        bytes=2_000_000,
        visual_read=512 * kept,
        seconds_prefill=0.3 if number == 0 else 0.01,
        seconds_decode=0.2,
    )


def fill(run: Run, given: argparse.Namespace, videos: int = VIDEOS) -> None:
    """Put an answer to every question of a run into its journal."""
    evaluation = evaluation_of(run, given)
    rows, _ = kept_rows(evaluation, choose("mini", evaluation.request.loading))
    items = evaluation.dataset.items(run.split, videos)
    with open_answers(given.out / given.name) as journal:
        for row in rows:
            draw = random.Random(row.spec.text)
            there = {*journal.predictions(row.setup)}
            for number, item in enumerate(items):
                if item.id not in there:
                    journal.add(row.setup, made_up(row, item, number % 8, draw), "abc1234")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tables of a model, and three of another."""
    out = tmp_path_factory.mktemp("methods")
    several = ["budgets", "positions", "whole"]
    for name, tables in (("shipped", [*methods.TABLES]), ("control", several)):
        for table in tables:
            for run in methods.TABLES[table]():
                # A journal each: all of one is read whenever it is opened.
                given = arguments(out / table, name)
                fill(run, given)
                export(run, given).write(out / "data")
    return out


@pytest.fixture(scope="module")
def models(measured: Path) -> Mapping[str, Mapping[str, Any]]:
    """The figures of all tables, by model and table."""
    return method_pages.read_documents(measured / "data")


@pytest.fixture(scope="module")
def pages(models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    return method_pages.pages_of(models)


def table_of(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """The headings of a Markdown table, and its other lines by their first cell."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return lines[0], {line[0]: line for line in lines[2:]}


def test_every_method_is_in_the_table_at_every_budget() -> None:
    (run,) = methods.budgets()
    specs = specs_of(run)
    assert (specs[0].text, {spec.method for spec in specs}) == ("none", {*METHODS})
    for name, method in METHODS.items():
        given = [spec.given for spec in specs if spec.method == name and spec.frames is None]
        if "retain" in parameters_of(method):
            assert [one["retain"] for one in given] == list(methods.BUDGETS), name
        else:
            assert len(given) == 1
        if "positions" in parameters_of(method):
            assert all(one["positions"] == "kept" for one in given), name


def test_the_rows_of_the_other_tables() -> None:
    (positions,), (layers,), (windows,) = methods.positions(), methods.layers(), methods.windows()
    for name, method in METHODS.items():
        of_method = [s for s in specs_of(positions) if s.method == name and name != "none"]
        both = ["kept", "renumbered"] if "positions" in parameters_of(method) else []
        assert [spec.given["positions"] for spec in of_method] == both, name
    swept = {(s.given["prune_layer"], s.given.get("prune_ratio")) for s in specs_of(layers)[1:]}
    ratios = {(layer, ratio) for layer in (3, 5, 7, 8, 9) for ratio in (0.3, 0.5, 0.7)}
    assert swept == ratios | {(2, None), (9, None)}
    assert [spec.given["window"] for spec in specs_of(windows)[1:]] == [2, 4, 8, 2, 4, 8]
    assert [run.frames for run in methods.frames()] == [8, 16, 32, 64]
    (vision,) = methods.vision()
    both = [(spec.text, spec.method, spec.given["merge_stage"]) for spec in specs_of(vision)[1:]]
    behind = {text.replace("=llm", "=vision") for text, _, stage in both if stage == "llm"}
    assert behind == {text for text, _, stage in both if stage == "vision"}
    can = {name for name in METHODS if "merge_stage" in parameters_of(METHODS[name])}
    assert {method for _, method, _ in both} == can
    (whole,) = methods.whole()
    every = len({i.video for i in open_dataset("shapes").items("test", None)})
    assert whole.videos == every
    # As a user gets them: nothing but the budget and the paper's layer is given, and merging.
    given = {name for spec in specs_of(whole) for name in spec.given}
    assert given == {"retain", "prune_layer", "merge_dropped", "relevance_weight"}
    (fair,) = methods.fair({"dycoke-plus": "window=4"})
    texts = [spec.text for spec in specs_of(fair)]
    assert texts[1] == "dycoke-plus:window=4:retain=0.25"
    for name, method in METHODS.items():
        if "retain" in parameters_of(method):
            merging = {"merge_dropped" in s.given for s in specs_of(fair) if s.name == name}
            assert (True in merging) == ("merge_dropped" in parameters_of(method)), name
    assert {"dpp:retain=0.1", "cdpruner:relevance_weight=0.5:retain=0.1"} < {*texts}


def test_absent_things_are_told_by_the_answer() -> None:
    items = open_dataset("shapes").items("validation", None)
    absent = [item for item in items if is_absent(item)]
    assert {item.kind for item in absent} >= {"existence", "needle"}
    assert all(" no " in f" {item.answer.lower()}" for item in absent)
    there = [item for item in items if item.kind == "existence" and not is_absent(item)]
    assert {item.answer.partition(",")[0] for item in there} == {"Yes"}


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
    parts += ["-windows", "-plus", "-vision", "-whole", "-validation", "-larger"]
    names = [f"methods{part}" for part in parts] + ["headline", "readme"]
    names += [f"methods-{part}" for part in ("int8", "fair", "fair-ahead")]
    names += ["methods-choice", "methods-by-kind"]
    assert [*pages] == [*names, "methods-frames", "methods-plus-frames"]
    assert "| `kv-own:prune_ratio=0.95` | 100 % | 100 % | " in pages["methods-plus"]
    document = models["shipped"]["budgets"]
    rows = rows_of(document)
    headings, short = table_of(pages["methods"])
    assert headings == ["method", "25 % kept", "10 % kept"]
    assert short["`evs`"][2] == told(rows["evs:retain=0.1:positions=kept"])
    assert "`dycoke` " in pages["methods"].partition("Without a budget")[2]
    other = rows_of(models["control"]["budgets"])["evs:retain=0.1:positions=kept"]
    assert table_of(pages["methods-others"])[1]["`evs`"][2] == told(other)
    assert pages["methods-others"].startswith("<details><summary>The same of the control</summary>")
    questions = document["rows"][0]["questions"]
    for name, text in pages.items():
        if name == "headline":
            continue
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
    assert [line.split(" | ")[1] for line in layers] == ["3", "5", "7", "8", "9", "2", "9"]
    assert "| shipped | baseline |" in pages["methods-frames"]


def test_the_tables_of_the_whole_split(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
    document = models["shipped"]["whole"]
    rows, ahead = pages["methods-whole"].split("\n\n")[:2]
    assert "| `dycoke:prune_layer=3` | 44 % |" in rows
    assert table_of(ahead)[0][0] == "dycoke-plus minus"
    assert table_of(ahead)[1]["`evs`"][1] == told(document["ahead"]["evs:retain=0.25"])
    headings, cells = table_of(pages["readme"])
    parts = ("as it is", "25 % kept", "10 % kept")
    assert headings == [
        "method", *(f"{name}: {part}" for name in ("shipped", "control") for part in parts),
    ]  # fmt: skip
    assert [*cells][:4] == ["baseline", "`dycoke`, L = 9", "`dycoke`, L = 3", "`dycoke-plus`"]
    assert cells["`dycoke`, L = 9"][1] == f"{told(rows_of(document)['dycoke'])} (44 % kept)"
    row = rows_of(document)["dycoke"]
    cost = f"{-100 * row['difference']:.1f} ± {100 * row['difference_error']:.1f}"
    assert f"reads 44 % of the visual tokens, and answers {cost} perc" in pages["headline"]
    row = rows_of(models["control"]["whole"])["dycoke"]
    cost = f"{-100 * row['difference']:.1f} ± {100 * row['difference_error']:.1f}"
    assert f"on the model `control` {cost} (" in pages["headline"]
    for number, name in enumerate(("shipped", "control")):
        at_tenth = rows_of(models[name]["whole"])["evs:retain=0.1"]
        assert cells["`evs`"][3 * number + 3] == told(at_tenth)


def test_rivals_on_equal_terms(models: Mapping[str, Any], pages: Mapping[str, str]) -> None:
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
    assert pages["methods-fair-ahead"].partition("± is one")[0].count(" ± ") == len(behind)


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


def test_what_is_best_on_validation_is_chosen(measured: Path, tmp_path: Path) -> None:
    raw = read_answers(measured / "data" / "shipped" / "choice.jsonl.xz")
    assert chosen(tmp_path, "shipped") == {}

    def answered(best: Mapping[str, str]) -> Mapping[str, Any]:
        return {
            row: {
                key: replace(one, right=any(row.startswith(f"{m}:{s}") for m, s in best.items()))
                for key, one in said.items()
            }
            for row, said in raw.answers.items()
        }

    best = {"dycoke": "prune_layer=8", "flashvid": "contextual=0.5"}
    replace(raw, answers=answered(best)).write(tmp_path)
    # Of equally good ones the default stays.
    assert chosen(tmp_path, "shipped") == best
    texts = [spec.text for spec in specs_of(methods.whole(best)[0])]
    assert texts[1:3] == ["dycoke:prune_layer=8", "dycoke:prune_layer=3"]
    assert "flashvid:contextual=0.5:retain=0.25" in texts
    for name, settings in CANDIDATES.items():
        assert len(settings) == 3
        defaults = parameters_of(METHODS[name])
        parameter, _, value = settings[0].partition("=")
        assert name == "dycoke" or defaults[parameter].default == float(value), name


def test_the_model_with_most_tokens_stands_first_if_it_knows_enough(
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
    pages = method_pages.pages_of(models)
    assert table_of(pages["readme"])[0] == [
        "method", "as it is", "25 % kept", "10 % kept",
    ]  # fmt: skip
    assert "`tokens-64`: 64 tokens per frame, the shipped one, trained on" in pages["readme"]
    assert pages["headline"].startswith("With DyCoke a model with 64 tokens per frame (`tokens-64`")
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
    pages = method_pages.pages_of(method_pages.read_documents(tmp_path))
    told = "Without compression `tokens-64` answers 0.0 ± 0.0 % of 17 questions about 2 videos"
    assert told not in pages["readme"]
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


def test_answers_are_written_as_they_were(measured: Path, tmp_path: Path) -> None:
    path = measured / "data" / "shipped" / "whole.jsonl.xz"
    raw = read_answers(path)
    assert raw.write(tmp_path).read_bytes() == path.read_bytes()
    assert raw.header.commits == ("abc1234",)
    (dycoke,) = (row for row in raw.header.rows if row.spec == "dycoke")
    assert {*dycoke.parameters} == {*parameters_of(METHODS["dycoke"])}
    assert (dycoke.parameters["prune_layer"], dycoke.parameters["positions"]) == (9, "kept")
    item = raw.items[0]
    assert raw.answers["none"][item.id].said == item.answer


def test_an_interrupted_run_has_the_videos_that_all_rows_answered(tmp_path: Path) -> None:
    (run,) = methods.windows()
    given = arguments(tmp_path)
    with pytest.raises(
        methods.NothingAnsweredError, match="no video of which windows has all answers"
    ):
        export(run, given)
    fill(run, given)
    path = tmp_path / "shipped" / "answers.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    (item,) = (one for one in open_dataset("shapes").items("test", 1) if one.id == "t000-3")
    gone = next(n for n, line in enumerate(lines) if f'"{item.id}"' in line)
    path.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    raw = export(run, given)
    assert {item.video for item in raw.items} == {"t001"}
    assert {*raw.answers["none"]} == {item.id for item in raw.items}


def test_pages_are_written_between_their_markers(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "methods.md"
    page.parent.mkdir()
    for path in (readme, page):
        path.write_text("before\n<!-- methods: by hand -->\n<!-- /methods -->\nafter\n")
    with readme.open("a") as file:
        file.write("<!-- methods-others: … -->\n<!-- /methods-others -->\n")
    with page.open("a") as file:
        file.write("<!-- methods-layers: … -->\nold\n<!-- /methods-layers -->\n")
    picture = page.with_name("methods.png")
    monkeypatch.setattr(method_pages, "PAGES", [readme, page])
    monkeypatch.setattr(method_pages, "PICTURE", picture)
    monkeypatch.setattr(method_pages, "PICTURES", picture.with_stem("methods-models"))
    flags = ["--data", str(measured / "data"), "--report", "--write"]
    monkeypatch.setattr(sys, "argv", ["methods", *flags])
    methods.main()
    link = "![Correct answers over the visual tokens kept, by method]"
    begin = f"before\n<!-- methods: by hand -->\n{link}"
    assert readme.read_text().startswith(f"{begin}(docs/methods.png)\n\n| method | 25 % kept")
    assert page.read_text().startswith(f"{begin}(methods.png)\n\n| method | 25 % kept")
    begin = f"<!-- /methods -->\nafter\n<!-- methods-others: … -->\n{link}"
    assert f"{begin}(docs/methods-models.png)\n\n<details>" in readme.read_text()
    assert readme.read_text().endswith("</details>\n<!-- /methods-others -->\n")
    assert "| `dycoke` | 3 |" in page.read_text()
    assert "old" not in page.read_text()
    for name in ("methods.png", "methods-models.png"):
        with Image.open(page.with_name(name)) as written:
            assert written.size == (WIDTH_PX, HEIGHT_PX)


def test_a_table_without_answers_is_an_error(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- methods-gone: … -->\nold\n<!-- /methods-gone -->\n")
    monkeypatch.setattr(method_pages, "PAGES", [page])
    monkeypatch.setattr(method_pages, "_pictures", lambda models: {})
    with pytest.raises(SystemExit, match="has a place for methods-gone"):
        method_pages.write_pages(measured / "data", write=True)
    page.write_text("<!-- methods-later: … -->\n\n<!-- /methods-later -->\n")
    method_pages.write_pages(measured / "data", write=True)
    assert page.read_text() == "<!-- methods-later: … -->\n\n<!-- /methods-later -->\n"


def test_what_is_missing_is_left_out(measured: Path, tmp_path: Path) -> None:
    read_answers(measured / "data" / "shipped" / "layers.jsonl.xz").write(tmp_path)
    models = method_pages.read_documents(tmp_path)
    assert [*method_pages.pages_of(models)] == ["methods-layers"]
    with pytest.raises(SystemExit, match="has no answers"):
        method_pages.read_documents(tmp_path / "shipped")


def test_results_of_two_models_under_one_name_are_refused(measured: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("layers", "windows")):
        raw = read_answers(measured / "data" / "shipped" / f"{name}.jsonl.xz")
        model = {**raw.header.model, "weights": str(number)}
        replace(raw, header=replace(raw.header, model=model)).write(tmp_path)
    with pytest.raises(SystemExit, match="are of several models"):
        method_pages.read_documents(tmp_path)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--tables", "layer"], "there is no table 'layer' (there are budgets, positions"),
        (["--write"], "--write is for --report"),
    ],
)
def test_wrong_flags(
    flags: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["methods", *flags])
    with pytest.raises(SystemExit) as ended:
        methods.main()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


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
