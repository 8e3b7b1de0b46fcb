"""The kept tables and the figures of the pages are those of the answers in docs/data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.kept_tables import TABLES, csv_files, kept_files, read_table
from benchmarks.method_pages import SEEDS, methods_listed, read_documents, texts_of
from benchmarks.page import ROOT
from benchmarks.raw_answers import DATA, SUFFIX, read_answers
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.scoring.statistics import holm
from dycoke_cli.param import parameters_of
from tests.marks import EXTENDED
from tests.pages import on_one_line

RESULTS = ROOT / "docs" / "results.md"
README = on_one_line("README.md")
PAGES = [RESULTS, ROOT / "docs" / "methods.md"]
FILES = sorted(DATA.glob(f"*/*{SUFFIX}"))
FIGURE = re.compile(r"[−+]?\d+\.\d ± \d+\.\d")
# Reading all answers takes 16 s of a processor; `make test` reads the small files.
SMALL_BYTES = 30_000


# Parameters, off by default, that the methods had when the answers were written.
GONE = {"inner_layer", "inner_retain", "text_pivots", "tower_layers"}


@pytest.fixture(scope="module")
def models() -> Mapping[str, Mapping[str, Any]]:
    return read_documents(DATA)


@pytest.fixture(scope="module")
def texts(models: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return texts_of(models)


@pytest.mark.parametrize("name", methods_listed())
@pytest.mark.extended
def test_tables_are_made_of_the_answers(name: str, texts: Mapping[str, str]) -> None:
    assert csv_files(texts[name], name) == kept_files(name), f"`make tables` writes {name} anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_in_sentences_are_those_of_a_table(page: Path) -> None:
    tables = "\n".join(path.read_text(encoding="utf-8") for path in TABLES.glob("*.csv"))
    known = {figure.lstrip("−+") for figure in FIGURE.findall(tables)}
    told = {one.lstrip("−+") for one in FIGURE.findall(page.read_text(encoding="utf-8"))}
    assert told
    assert told <= known


@pytest.mark.extended
def test_the_bundled_model_is_said_to_answer_what_it_answered(
    models: Mapping[str, Mapping[str, Any]],
) -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").replace("\n", " ")
    whole = models["shipped"]["whole"]
    base, own, paper = (
        f"{100 * row['accuracy']:.1f} %"
        for row in whole["rows"]
        if row["method"] in ("none", "dycoke")
    )
    assert f"{base} of its answers are exact matches on {whole['videos']} videos" in page
    assert f"; {own} with DyCoke (L = 9 of 10 layers), {paper} at the paper's L = 3." in page
    answers = read_answers(DATA / "shipped" / f"whole{SUFFIX}").answers
    right = {key: one.said for key, one in answers["none"].items() if one.parts and one.right}
    wrong = {key: answers["dycoke"][key].said for key in right if not answers["dycoke"][key].right}
    longer = [key for key, said in wrong.items() if said.count(",") == right[key].count(",") + 1]
    assert "Of five descriptions that are exact matches, one becomes wrong with DyCoke" in page
    assert round(len(right) / len(wrong)) == 5
    assert "half of these by one event too many." in page
    assert 0.45 < len(longer) / len(wrong) < 0.55


@pytest.mark.extended
def test_what_dycoke_plus_leads_by_holm(models: Mapping[str, Mapping[str, Any]]) -> None:
    def led(table: str, retain: float) -> dict[str, bool]:
        document = models["tokens-64"][table]
        given = {row["spec"]: row["parameters"]["retain"] for row in document["rows"][1:]}
        pairs = {spec: pair for spec, pair in document["ahead"].items() if given[spec] == retain}
        p = holm([pair["difference_p"] for pair in pairs.values()])
        return {
            spec: pair["difference"] > 0 and one is not None and one < 0.05
            for (spec, pair), one in zip(pairs.items(), p, strict=True)
        }

    near = led("near", 0.25)
    page = RESULTS.read_text(encoding="utf-8")
    assert {spec.partition(":")[0] for spec, leads in near.items() if not leads} == {
        "flashvid", "fastvid", "prumerge",
    }  # fmt: skip
    assert "these three don't pass Holm's procedure" in page
    marked = {row[0]: row[1].endswith(" *") for row in read_table("methods-near.2")[1:]}
    assert [*marked.values()] == [*near.values()]


def test_the_costs_of_the_three_models() -> None:
    cost = {tuple(row[:2]): row[5].lstrip("−") for row in read_table("methods-seeds")}
    results = on_one_line("docs/results.md")
    stride = cost["uniform-spatial + merging", "25 %"]
    assert (
        f"costs three small models {cost['ttm', '47 %']} points. A quarter of the tokens costs "
        f"them {stride} points if it is every n-th one, with the others merged into it, "
        f"{cost['random', '25 %']} if drawn at random, and "
        f"{cost['uniform-frames', '25 %']} as fewer frames"
    ) in results
    plus = cost["dycoke-plus", "10 %"]
    for chosen, points in (("default", cost["ttm", "47 %"]), ("rule", stride), ("0.1`", plus)):
        assert f"{chosen}{')' * (chosen == 'default')} | −{points} |" in README


def test_the_seconds_of_the_table() -> None:
    name = "rules-2-cores-of-intel-xeon-amx-int8"
    _, *rows = read_table(name)
    seconds = {row[0]: row[4].split()[0] for row in rows}
    speed = on_one_line("docs/speed.md")
    assert (
        f"takes {seconds['transformers baseline (SDPA)']} s stock, "
        f"{seconds['ttm (the default)']} s by default, {seconds['stride, merged']} s with a "
        f"quarter by every n-th token, {seconds['ttm before vision']} s merging "
        f"before the vision tower, {seconds['fewer frames']} s with 8 whole frames"
    ) in speed
    assert (
        f"32 frames take a 0.5B model {seconds['ttm (the default)']} s in place of "
        f"{seconds['transformers baseline (SDPA)']} s on two cores with AMX"
    ) in README
    (commit,) = re.findall(r"three-training-seeds\), commit (\w+)\)", speed)
    (text,) = kept_files(name).values()
    assert f"Commit {commit}, " in text
    hour = {row[0]: row[5] for row in read_table("seconds-long")[1:]}
    few, pool = (round(float(hour[one]), 1) for one in ("uniform", "dycoke-plus in windows"))
    told = f"For an hour of drawn frames the bundled model takes {pool} s, for 32 of them {few} s"
    assert told in speed
    each = float(rows[0][1].split()[0]) / 32
    assert f"takes about {each:.1f} s a frame" in RESULTS.read_text(encoding="utf-8")
    assert f"a 0.5B model's tower alone about {each * 3600 / 600:.0f}0 minutes" in speed
    towers = [float(row[1].split()[0]) for row in rows if "before" not in row[0]]
    least, *_, most = sorted(one for one in towers if one > 20)
    assert f"the tower took {least:.0f} to {most:.0f} s" in RESULTS.read_text(encoding="utf-8")


def clustered(values: Sequence[float], videos: Sequence[str]) -> float:
    """The standard error of a mean, clustered by video, in %."""
    residuals, names = np.array(values, float) - np.mean(values), np.array(videos)
    sums = [residuals[names == one].sum() for one in np.unique(names)]
    squares = np.square(sums).sum() * len(sums) / (len(sums) - 1)
    return round(100 * float(np.sqrt(squares)) / len(values), 1)


@pytest.mark.extended
def test_the_errors_of_the_mean_of_three_trainings() -> None:
    """Clustered by video, of the models' mean change for each question."""
    changes: dict[str, dict[tuple[str, str], float]] = {}
    for seed in SEEDS:
        raw = read_answers(DATA / f"tokens-64-seed-{seed}" / f"seeds{SUFFIX}")
        for row in raw.header.rows:
            of = changes.setdefault(row.spec, {})
            for item in raw.items:
                changed = raw.answers[row.spec][item.id].right - raw.answers["none"][item.id].right
                key = item.video, item.id
                of[key] = of.get(key, 0) + changed / len(SEEDS)
    errors = {}
    for spec, of in changes.items():
        assert len({video for video, _ in of}) == 40
        errors[spec] = clustered([*of.values()], [video for video, _ in of])
    told = ("ttm", "uniform-spatial:merge_dropped=true:retain=0.25", "random:retain=0.25",
            "uniform-frames:retain=0.25")  # fmt: skip
    least, most = min(errors[one] for one in told), max(errors[one] for one in told)
    results = on_one_line("docs/results.md")
    assert f"(± {least} to {most}, one standard error over 40 rendered videos;" in results
    elsewhere = re.compile("^none|retain=0.1$")  # not on the page, or at a tenth
    shown = [error for spec, error in errors.items() if not elsewhere.search(spec)]
    page = RESULTS.read_text(encoding="utf-8")
    assert f"the mean's {min(shown)} to {max(shown)} at a quarter and above" in page


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stat().st_size < SMALL_BYTES else EXTENDED)
        for path in FILES
    ],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_answers_are_whole_and_scored_as_the_benchmark_scores(path: Path) -> None:
    raw = read_answers(path)
    items = {item.id: item for item in raw.items}
    dataset = open_dataset(raw.header.benchmark)
    assert raw.header.commits
    assert dataset.edition(raw.header.split) == raw.header.edition
    for row in raw.header.rows:
        assert {*raw.answers[row.spec]} == {*items}, row.spec
        method = {"no-video": "none", "one-frame": "none"}.get(row.name, row.name)
        known = {*parameters_of(METHODS[method])} if method in METHODS else {*row.parameters}
        assert {*row.parameters} <= known | GONE
        for key, answer in raw.answers[row.spec].items():
            score = dataset.score(items[key], answer.said)
            assert (score.right, dict(score.parts)) == (answer.right, answer.parts), (row.spec, key)
