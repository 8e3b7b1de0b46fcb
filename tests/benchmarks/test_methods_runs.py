"""Which rows are asked for the tables of methods, and what is written of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import methods
from benchmarks.method_choice import CANDIDATES, chosen
from benchmarks.methods import add, export, lacking, specs_of
from benchmarks.raw_answers import DATA, RawAnswers, read_answers
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import DycokeError
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.param import parameters_of
from tests.benchmarks.made_up_answers import arguments, fill


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


@pytest.mark.extended
def test_what_is_best_on_validation_is_chosen(tmp_path: Path) -> None:
    raw = read_answers(DATA / "tokens-64" / "choice.jsonl.xz")
    assert chosen(tmp_path, "tokens-64") == {}

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
    assert chosen(tmp_path, "tokens-64") == best
    texts = [spec.text for spec in specs_of(methods.whole(best)[0])]
    assert texts[1:3] == ["dycoke:prune_layer=8", "dycoke:prune_layer=3"]
    assert "flashvid:contextual=0.5:retain=0.25" in texts
    for name, settings in CANDIDATES.items():
        assert len(settings) == 3
        defaults = parameters_of(METHODS[name])
        parameter, _, value = settings[0].partition("=")
        assert name == "dycoke" or defaults[parameter].default == float(value), name


def test_answers_are_written_as_they_were(tmp_path: Path) -> None:
    path = DATA / "36-tokens" / "larger.jsonl.xz"
    assert read_answers(path).write(tmp_path).read_bytes() == path.read_bytes()


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


def test_rows_of_a_new_method_are_added_to_the_videos_of_a_table(tmp_path: Path) -> None:
    (run,), given = methods.windows(), arguments(tmp_path)
    fill(run, given)
    whole = export(run, given)
    first = {item.id for item in whole.items if item.video == "t000"}
    _, *newer = (spec for spec in run.specs if spec.startswith("dycoke"))
    header = replace(
        whole.header,
        commits=("7654321",),
        machine="another one",
        rows=tuple(row for row in whole.header.rows if row.spec not in newer),
    )
    answers = {
        row: {item: said[item] for item in first}
        for row, said in whole.answers.items()
        if row not in newer
    }
    known = RawAnswers(header, answers)
    asked = lacking(run, known, {"dycoke"})
    assert (asked.specs, asked.videos) == (["none", *newer], 1)
    united = add(known, export(asked, given))
    assert [row.spec for row in united.header.rows] == run.specs
    # Of one that has more rows and videos nothing else is taken.
    assert known.with_rows(whole).answers == united.answers
    assert united.header.commits == ("7654321", "abc1234")
    assert united.header.machine == f"another one; {whole.header.machine}"
    for row in run.specs:
        assert united.answers[row] == {item: whole.answers[row][item] for item in first}
    # Written and read again it is a table as any other.
    assert read_answers(united.write(tmp_path / "data")).header == united.header
    other = replace(whole, header=replace(whole.header, edition="another"))
    with pytest.raises(DycokeError, match="rows of another edition, 'another'"):
        known.with_rows(other)
    model = {**whole.header.model, "weights": "others"}
    with pytest.raises(DycokeError, match="rows of a model with other weights, others"):
        known.with_rows(replace(whole, header=replace(whole.header, model=model)))
    gone = {row: dict(list(said.items())[1:]) for row, said in whole.answers.items()}
    with pytest.raises(DycokeError, match=r"1 of \d+ questions aren't answered"):
        known.with_rows(replace(whole, answers=gone))
