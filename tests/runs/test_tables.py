"""Journals of answers, and the tables that are made of them."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import OutputError, VideoError
from dycoke_cli.runs.batch_journal import Known, Outcome, open_results
from dycoke_cli.runs.tables import TableFile, csv_of, parquet_of, usual_fields
from tests.runs.parts import PLAN, settled_in
from tests.runs.pretended import make_clips, outcome_of, pretended_answer, valid


@pytest.fixture
def outcomes(tmp_path: Path) -> list[Outcome]:
    """Three answers and an error."""
    clips = make_clips(tmp_path / "clips", "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    *good, bad = [ask for (ask,) in settled_in(clips)]
    answers = [outcome_of(ask, pretended_answer("What?")) for ask in good]
    return [*answers, outcome_of(bad, VideoError("it is torn"))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def write(path: Path, outcomes: list[Outcome]) -> None:
    with open_results(path) as results:
        for outcome in outcomes:
            results.add(outcome)


def test_what_is_there_is_known_again(path: Path, outcomes: list[Outcome]) -> None:
    write(path, outcomes[1:])
    with open_results(path) as results:
        found = [results.known(outcome.key) for outcome in outcomes]
    assert found == [None, Known(), Known(), Known(failed=True)]


@pytest.mark.parametrize(
    "content",
    [
        b"dear diary",
        b"dear diary\n",
        b'{"a": 1}\n',
        b'{"schema": "dycoke.answer/1", "answer": "of dycoke ask"}\n{"schema"',
        b"\x00\x01\x02",
        b'{"schema": "dycoke.eval/1"}',
        b"[" * 100_000 + b"\n",
        b"[1, 2]\n",
        b"7\n",
        b"\xff\xfe\x80 junk \x00\n\xff",
    ],
)
def test_another_file_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with (
        pytest.raises(OutputError, match=r"line 1: that isn't a line of results"),
        open_results(path),
    ):
        pass
    assert path.read_bytes() == content


def test_a_line_in_the_middle_that_is_damaged_is_named(path: Path, outcomes: list[Outcome]) -> None:
    write(path, outcomes)
    lines = path.read_bytes().splitlines(keepends=True)
    broken = b"".join([lines[0], lines[1][:50] + b"\n", *lines[2:]])
    path.write_bytes(broken)
    with pytest.raises(OutputError, match="line 2: that isn't a line"), open_results(path):
        pass
    assert path.read_bytes() == broken


def test_a_later_line_replaces_an_earlier_one_when_the_file_is_closed(
    path: Path, outcomes: list[Outcome], tmp_path: Path
) -> None:
    write(path, outcomes)
    [ask] = settled_in(tmp_path / "clips")[3]
    again = outcome_of(ask, pretended_answer("What?"))
    assert again.key == outcomes[3].key
    with open_results(path) as results:
        results.add(again)
        assert len(path.read_text().splitlines()) == 5
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [outcome.line for outcome in [*outcomes[:3], again]]
    # A run that was killed before it closed the file leaves that to the next one.
    with path.open("a") as file:
        file.write(json.dumps(outcomes[0].line) + "\n")
    write(path, [])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [outcome.line for outcome in [*outcomes[1:3], again, outcomes[0]]]


def test_two_runs_on_one_file(path: Path) -> None:
    with (
        open_results(path),
        pytest.raises(OutputError, match="another run is writing to") as error,
        open_results(path),
    ):
        pass
    assert error.value.exit_code == 6
    write(path, [])  # nobody holds it any more


def test_a_device_is_no_file(tmp_path: Path) -> None:
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="isn't a file"), open_results(link):
        pass
    assert list(tmp_path.iterdir()) == [link]  # not even a lock


def test_names_that_are_not_utf8_are_text_and_stay_apart(path: Path) -> None:
    """A file may also be called what the escape of another looks like."""
    found = []
    for content in (b"caf\xe9.mp4", b"caf\xe8.mp4", b"caf\\xe9.mp4"):
        name = os.fsdecode(content)
        ask = PLAN.with_defaults(Ask("What?", PLAN.request, (Footage(name, name, name),)))
        found.append(outcome_of(ask, VideoError(f"{name} isn't there")))
    write(path, found)
    lines = [valid(json.loads(line)) for line in path.read_text().splitlines()]
    assert [line["video"] for line in lines] == ["caf\\xe9.mp4", "caf\\xe8.mp4", "caf\\xe9.mp4"]
    assert json.dumps(lines, ensure_ascii=False).encode()  # no lone surrogates anywhere
    assert len({line["key"] for line in lines}) == 3
    with open_results(path) as results:
        assert all(results.known(outcome.key).failed for outcome in found)  # type: ignore[union-attr]


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
    table = TableFile(tmp_path / "results.csv", csv_of, FIELDS)
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


def test_text_that_begins_with_a_tab_is_no_formula() -> None:
    line = {"answer": "\t=1", "question": "\n=1", "id": -3}
    table = csv_of([("answer",), ("question",), ("id",)], [line]).decode()
    assert [*csv.reader(io.StringIO(table))][1] == ["'\t=1", r"'\n=1", "-3"]


def test_columns_are_what_the_answers_have() -> None:
    text: dict[str, Any] = {"video": "a.mp4", "question": "?", "answer": "so"}
    odds = {"choice": "day, bright", "probabilities": {"day, bright": 0.75, "night": 0.25}}
    parsed = {"parsed": {"v.1": True, "count": 7}}

    def names(*found: dict[str, Any]) -> str:
        return "|".join(".".join(field) for field in usual_fields(found))

    assert names(text) == "video|question|answer|warnings|finish_reason|id|key"
    failed = names(text).replace("warnings", "warnings|error.code|error.message")
    assert names(text, {"error": {}}) == failed
    assert names({**text, "start": 1.0}) == names(text).replace("answer", "answer|start|end")
    assert names({**text, **odds}) == (
        "video|question|answer|confidence|scoring.mass|warnings|margin|probabilities.day, bright|"
        "probabilities.night|finish_reason|id|key"
    )
    assert names({**text, **odds, "when": []}).startswith("video|question|answer|choice|confidence")
    assert names({**text, **parsed}).split("|")[2:4] == ["parsed.v.1", "parsed.count"]


def test_shares_have_three_digits_and_the_confidence_is_that_of_the_answer() -> None:
    odds = {"yes": 0.123456, "no": 0.876544}
    lines = [{"choice": "no", "probabilities": odds, "tokens_per_second": 1.23456}, {"error": {}}]
    columns = [("confidence",), ("probabilities", "yes"), ("tokens_per_second",)]
    assert csv_of(columns, lines).decode().splitlines()[1:] == ["0.877,0.123,1.23456", ",,"]


def test_a_table_with_letters_beyond_ascii_begins_with_a_byte_order_mark() -> None:
    for text, mark in (("so", b""), ("Jürgen läuft", b"\xef\xbb\xbf")):
        table = csv_of([("answer",)], [{"answer": text}])
        assert table == mark + f"answer\n{text}\n".encode()


def test_parquet_keeps_types(tmp_path, lines) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow isn't installed")
    fields = [("answer",), ("frames", "timestamps_s"), *FIELDS]
    table = TableFile(tmp_path / "a.parquet", parquet_of, fields)
    table.write(lines)
    found = parquet.read_table(table.path).to_pylist()
    assert [one["answer"] for one in found] == [line.get("answer") for line in lines]
    assert [one["tokens.visual"] for one in found] == [
        line.get("tokens", {}).get("visual") for line in lines
    ]
    assert isinstance(found[0]["frames.timestamps_s"], list)
    assert json.dumps(found[2]["error.code"]) == '"video_unreadable"'
