"""The fair table of methods, from answers that were made up: no model is asked."""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import method_pages, methods
from benchmarks.methods import Run, is_absent, measure, specs_of
from dycoke_cli.cli.plotting import HEIGHT_PX, WIDTH_PX, apart
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.journal import open_journal
from dycoke_cli.evaluation.lines import BUNDLED, Evaluation, Line, lines_of
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.models.resolve import choose
from dycoke_cli.param import parameters_of

VIDEOS = 2


def arguments(out: Path, name: str = "shipped") -> argparse.Namespace:
    return argparse.Namespace(
        out=out, name=name, model="mini", split="test", videos=VIDEOS, workers=1,
        dtype=methods.DTYPE,
    )  # fmt: skip


def made_up(line: Line, item: Any, number: int, draw: random.Random) -> Prediction:
    """An answer that is the likelier wrong, the less is kept."""
    kept = line.method.kept_tokens(32, 16) / 512
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


def fill(run: Run, given: argparse.Namespace) -> None:
    """Put an answer to every question of a run into its journal."""
    request = replace(BUNDLED, loading=replace(BUNDLED.loading, dtype=given.dtype))
    if run.frames is not None:
        request = replace(request, sampling=replace(request.sampling, frames=run.frames))
    evaluation = Evaluation(open_dataset("shapes"), specs_of(run), request=request)
    lines, _ = lines_of(evaluation, choose("mini", request.loading))
    items = evaluation.dataset.items("test", VIDEOS)
    with open_journal(given.out / given.name) as journal:
        for line in lines:
            draw = random.Random(line.spec.text)
            there = {*journal.predictions(line.setup)}
            for number, item in enumerate(items):
                if item.id not in there:
                    journal.add(line.setup, made_up(line, item, number % 8, draw), "abc1234")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tables of a model, and two of another."""
    out = tmp_path_factory.mktemp("methods")
    for name, tables in (("shipped", [*methods.TABLES]), ("control", ["budgets", "positions"])):
        for table in tables:
            for run in methods.TABLES[table]():
                fill(run, arguments(out, name))
                measure(replace(run, videos=None), arguments(out, name))
    return out


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
    # As a user gets them: nothing but the budget and the paper's layer is given.
    given = {name for spec in specs_of(whole) for name in spec.given}
    assert given == {"retain", "prune_layer"}


def test_absent_things_are_told_by_the_answer() -> None:
    items = open_dataset("shapes").items("validation", None)
    absent = [item for item in items if is_absent(item)]
    assert {item.kind for item in absent} >= {"existence", "needle"}
    assert all(" no " in f" {item.answer.lower()}" for item in absent)
    there = [item for item in items if item.kind == "existence" and not is_absent(item)]
    assert {item.answer.partition(",")[0] for item in there} == {"Yes"}


def test_figures_are_those_of_the_answers(measured: Path) -> None:
    document = json.loads((measured / "shipped" / "budgets.json").read_text())
    items = {item.id: item for item in open_dataset("shapes").items("test", VIDEOS)}
    answers = [
        json.loads(line)
        for line in (measured / "shipped" / "answers.jsonl").read_text().splitlines()
    ]
    about = {line["setup"]: line["about"] for line in answers if "about" in line}
    plain = METHODS["evs"]().parameters()
    for row in document["report"]["rows"]:
        if row["method"] != "evs":
            continue
        of_row = [
            line
            for line in answers
            if "item" in line
            and plain | about[line["setup"]]["method"] == {"name": "evs", **row["parameters"]}
        ]
        right = [line["right"] for line in of_row]
        assert row["accuracy"] == pytest.approx(sum(right) / len(right))
        absent = [line["right"] for line in of_row if is_absent(items[line["item"]])]
        more = document["more"][row["spec"]]
        assert more["absent"]["questions"] == len(absent) > 0
        assert more["absent"]["value"] == pytest.approx(sum(absent) / len(absent))
        # Of each video the longest, which reused nothing.
        assert more["seconds_whole_prefill"] == pytest.approx(0.3)
        assert row["seconds_prefill"] < 0.1
        assert row["seconds_decode"] == pytest.approx(0.2)


def test_the_tables_have_the_figures(measured: Path) -> None:
    pages = method_pages.pages_of(method_pages.read_documents(measured, ["shipped", "control"]))
    parts = ["", "-full", "-ahead", "-others", "-models", "-positions", "-layers", "-windows"]
    parts += ["-plus", "-vision", "-whole", "-frames", "-plus-frames"]
    assert [*pages] == [f"methods{part}" for part in parts]
    assert "| `kv-own:prune_ratio=0.9` | 100 % | 100 % | " in pages["methods-plus"]
    document = json.loads((measured / "shipped" / "budgets.json").read_text())
    rows = {row["spec"]: row for row in document["report"]["rows"]}
    headings, short = table_of(pages["methods"])
    assert headings == ["method", "50 % kept", "25 % kept", "15 % kept", "10 % kept", "5 % kept"]
    evs = rows["evs:retain=0.1:positions=kept"]
    told = f"{100 * evs['difference']:+.1f} ± {100 * evs['difference_error']:.1f}"
    assert short["`evs`"][4] == told.replace("-", "−")
    assert "`dycoke` " in pages["methods"].partition("Without a budget")[2]
    other = json.loads((measured / "control" / "budgets.json").read_text())
    evs = {row["spec"]: row for row in other["report"]["rows"]}["evs:retain=0.1:positions=kept"]
    told = f"{100 * evs['difference']:+.1f} ± {100 * evs['difference_error']:.1f}"
    assert table_of(pages["methods-others"])[1]["`evs`"][4] == told.replace("-", "−")
    assert pages["methods-others"].startswith("<details><summary>The same of the control</summary>")
    questions = document["report"]["rows"][0]["questions"]
    for text in pages.values():
        assert f"{VIDEOS} videos, {questions} questions each row, test split" in text
        assert ", commit abc1234." in text
    positions = table_of(pages["methods-positions"])
    document = json.loads((measured / "control" / "positions.json").read_text())
    rows = {row["spec"]: row for row in document["report"]["rows"]}
    kept, moved = (rows[f"evs:retain=0.25:positions={one}"] for one in methods.POSITIONS)
    evs = document["pairs"]["evs:retain=0.25:positions=kept"]
    assert evs["difference"] == pytest.approx(moved["accuracy"] - kept["accuracy"])
    assert evs["difference_error"] != pytest.approx(moved["difference_error"])
    assert positions[0][-1] == "control: contiguous − original"
    assert positions[1]["`evs`"][-1].startswith(f"{100 * evs['difference']:+.1f}".replace("-", "−"))
    ahead = table_of(pages["methods-ahead"])
    document = json.loads((measured / "shipped" / "budgets.json").read_text())
    rows = {row["spec"]: row for row in document["report"]["rows"]}
    assert len(document["ahead"]) == 5 * len(ahead[1])
    for spec, pair in document["ahead"].items():
        assert pair["value"] == rows[spec.replace(spec.partition(":")[0], "coverage")]["accuracy"]
        assert pair["difference"] == pytest.approx(pair["value"] - rows[spec]["accuracy"])
    assert "`coverage`" not in ahead[1]
    assert {"`evs`", "`random`", "`cdpruner`"} < {*ahead[1]}
    at_quarter = document["ahead"]["evs:retain=0.25:positions=kept"]["difference"]
    told = f"{100 * at_quarter:+.1f}".replace("-", "−")
    assert ahead[1]["`evs`"][1 + [*methods.BUDGETS].index(0.25)].startswith(told)
    vision = table_of(pages["methods-vision"])
    assert vision[0][-1] == "inside − behind"
    document = json.loads((measured / "shipped" / "vision.json").read_text())
    pair = document["pairs"]["ttm:positions=kept:merge_stage=llm"]
    told = f"{100 * pair['difference']:+.1f} ± {100 * pair['difference_error']:.1f}"
    assert vision[1]["`ttm`"][1:] == ["44 %", *vision[1]["`ttm`"][2:4], told.replace("-", "−")]
    assert len(document["pairs"]) == (len(document["report"]["rows"]) - 1) / 2
    rows, ahead = pages["methods-whole"].split("\n\n")[:2]
    assert "| `dycoke:prune_layer=3` | 44 % |" in rows
    document = json.loads((measured / "shipped" / "whole.json").read_text())
    first = document["ahead"]["evs:retain=0.25"]["difference"]
    assert table_of(ahead)[1]["`evs`"][1].startswith(f"{100 * first:+.1f}".replace("-", "−"))
    layers = [line for line in pages["methods-layers"].splitlines() if line.startswith("| `")]
    assert [line.split(" | ")[1] for line in layers] == ["3", "5", "7", "8", "9", "2", "9"]
    assert "| shipped | baseline |" in pages["methods-frames"]


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
    monkeypatch.setattr(method_pages, "README", readme)
    monkeypatch.setattr(method_pages, "PAGE", page)
    monkeypatch.setattr(method_pages, "PLUS_PAGE", page)
    monkeypatch.setattr(method_pages, "PICTURE", picture)
    monkeypatch.setattr(method_pages, "PICTURES", picture.with_stem("methods-models"))
    flags = ["--out", str(measured), "--report", "shipped,control", "--write"]
    monkeypatch.setattr(sys, "argv", ["methods", *flags])
    methods.main()
    link = "![Correct answers over the visual tokens kept, by method]"
    begin = f"before\n<!-- methods: by hand -->\n{link}"
    assert readme.read_text().startswith(f"{begin}(docs/methods.png)\n\n| method | 50 % kept")
    assert page.read_text().startswith(f"{begin}(methods.png)\n\n| method | 50 % kept")
    begin = f"<!-- /methods -->\nafter\n<!-- methods-others: … -->\n{link}"
    assert f"{begin}(docs/methods-models.png)\n\n<details>" in readme.read_text()
    assert readme.read_text().endswith("</details>\n<!-- /methods-others -->\n")
    assert "| `dycoke` | 3 |" in page.read_text()
    assert "old" not in page.read_text()
    for name in ("methods.png", "methods-models.png"):
        with Image.open(page.with_name(name)) as written:
            assert written.size == (WIDTH_PX, HEIGHT_PX)


def test_what_is_missing_is_left_out(measured: Path, tmp_path: Path) -> None:
    (tmp_path / "shipped").mkdir()
    source = measured / "shipped" / "layers.json"
    (tmp_path / "shipped" / "layers.json").write_text(source.read_text())
    models = method_pages.read_documents(tmp_path, ["shipped"])
    assert [*method_pages.pages_of(models)] == ["methods-layers"]
    with pytest.raises(SystemExit, match="has no results; --name control makes them"):
        method_pages.read_documents(tmp_path, ["control"])


def test_results_of_two_models_under_one_name_are_refused(measured: Path, tmp_path: Path) -> None:
    (tmp_path / "shipped").mkdir()
    for number, name in enumerate(("layers", "windows")):
        document = json.loads((measured / "shipped" / f"{name}.json").read_text())
        document["report"]["model"]["weights"] += str(number)
        (tmp_path / "shipped" / f"{name}.json").write_text(json.dumps(document))
    with pytest.raises(SystemExit, match="are of several models"):
        method_pages.read_documents(tmp_path, ["shipped"])


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
