"""Tables of answers, made of a journal: read by the csv module and by pyarrow."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import OutputError, VideoError
from dycoke_cli.runs.tables import TableFile, row, usual_fields
from tests.runs.parts import settled_in
from tests.runs.pretended import make_clips, outcome_of, pretended_answer

FIELDS = [("id",), ("question",), ("answer",), ("tokens", "visual")]


@pytest.fixture
def lines(tmp_path: Path) -> list[dict[str, Any]]:
    """Two answers and an error, whose texts have what a table's own notation has."""
    clips = make_clips(tmp_path / "clips", "a.mp4", 'b,"x.mp4', "c.mp4")
    *good, bad = [ask for (ask,) in settled_in(clips)]
    found = [outcome_of(ask, pretended_answer("What?")).line for ask in good]
    found[0]["answer"] = 'a, "b"\nand\r\nc'
    return [*found, outcome_of(bad, VideoError('it is\n"torn"')).line]


def test_a_row_each_behind_the_names_of_the_columns(tmp_path, lines) -> None:
    table = TableFile(tmp_path / "results.csv", FIELDS)
    assert table.write(lines) == f"3 answers in {table.path}"
    names, *rows = csv.reader(io.StringIO(table.path.read_bytes().decode(), newline=""))
    assert names == [
        "id", "question", "answer", "tokens.visual", "video", "error.code", "error.message", "key",
    ]  # fmt: skip
    assert len(table.path.read_bytes().splitlines()) == 4
    assert [one[-1] for one in rows] == [line["key"] for line in lines]
    assert [one[5] for one in rows] == ["", "", "video_unreadable"]
    assert (rows[0][2], rows[1][3]) == (
        r'a, "b"\nand\r\nc',
        str(lines[1]["tokens"]["visual"]),
    )
    assert rows[1][4].endswith('b,"x.mp4')
    # Without an error there are no columns of errors.
    assert table.write(lines[:2]) == f"2 answers in {table.path}"
    assert table.path.read_text().splitlines()[0] == "id,question,answer,tokens.visual,video,key"


def test_what_somebody_has_changed_stays(tmp_path, lines) -> None:
    table = TableFile(tmp_path / "results.csv", FIELDS)
    table.check("--out")
    table.write(lines)
    table.check("--out")  # its own is made anew
    with pytest.raises(OutputError, match=r"results\.csv exists, and stays as it is"):
        table.check("FILE", resumes=False)
    first, *others = csv.reader(table.path.open(encoding="utf-8", newline=""))
    more = [[*first, "checked", ""], [*others[0], "ye;s", "é"], *others[1:]]
    for separator in ",;":  # a person adds columns behind ours, and saves them with a spreadsheet
        with table.path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, delimiter=separator).writerows(more)
        for written in (lines, list(reversed(lines))):
            table.check("--out")
            table.write(written)
        rows = [*csv.reader(table.path.open(encoding="utf-8", newline=""))]
        assert [rows[0], *rows[:0:-1]] == [[*one, "", ""][: len(more[0])] for one in more]
    for here in (lines[1:], [lines[1]]):  # the row that was checked would be lost
        with pytest.raises(OutputError, match="stays as it is"):
            table.write(here)
    table.path.write_text(table.path.read_text("utf-8").replace("What?", "Who?"), "utf-8")
    with pytest.raises(OutputError, match="was changed since it was written, and stays as it is"):
        table.check("--out")
    table.path.write_text("mine")
    with pytest.raises(OutputError, match="was changed since it was written, and stays as it is"):
        table.check("--out")
    assert table.path.read_text() == "mine"


def test_text_that_begins_with_a_tab_is_no_formula() -> None:
    cells = row(
        {"answer": "\t=1", "question": "\n=1", "id": -3}, [("answer",), ("question",), ("id",)]
    )
    assert next(csv.reader(io.StringIO(cells, newline=""))) == ["'\t=1", "'\n=1", "-3"]


def test_columns_are_what_the_answers_have() -> None:
    text: dict[str, Any] = {"video": "a.mp4", "question": "?", "answer": "so"}
    odds = {"choice": "day, bright", "probabilities": {"day, bright": 0.75, "night": 0.25}}
    parsed = {"parsed": {"v.1": True, "count": 7}}
    scored = [{**text, "mean": 3.2, "probabilities": shares} for shares in ({"3": 1.0}, {"4": 1.0})]

    def names(*found: dict[str, Any]) -> str:
        return "|".join(".".join(field) for field in usual_fields(found))

    assert names(text) == "video|question|answer|warnings|finish_reason|id"
    assert names(text, {"error": {}}) == names(text)
    assert names({**text, "start": 1.0}) == names(text).replace("video", "video|start|end")
    assert names({**text, **odds}, {"error": {}}) == (
        "video|question|choice|warnings|margin|probabilities.day, bright|probabilities.night|"
        "scoring.mass|finish_reason|id"
    )
    assert names({**text, **odds, "when": []}).startswith("video|question|answer|choice")
    assert names({**text, **parsed}).split("|")[2:4] == ["parsed.v.1", "parsed.count"]
    # Open numbers differ from answer to answer.
    assert names(*scored).split("|")[4:7] == ["margin", "mean", "scoring.mass"]


def test_parquet_keeps_types(tmp_path, lines) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow isn't installed")
    table = TableFile(tmp_path / "a.parquet", [("answer",), ("frames", "timestamps_s"), *FIELDS])
    table.write(lines)
    found = parquet.read_table(table.path).to_pylist()
    assert [one["answer"] for one in found] == [line.get("answer") for line in lines]
    assert [one["tokens.visual"] for one in found] == [
        line.get("tokens", {}).get("visual") for line in lines
    ]
    assert isinstance(found[0]["frames.timestamps_s"], list)
    assert json.dumps(found[2]["error.code"]) == '"video_unreadable"'
