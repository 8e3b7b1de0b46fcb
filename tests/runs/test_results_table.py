"""Results as a table: read by the csv module, resumed like JSON Lines."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from dycoke_cli.errors import OutputError, VideoError
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.results import open_results
from dycoke_cli.runs.results_table import row, table_of
from dycoke_cli.storage import output_file
from tests.runs.parts import settled_in
from tests.runs.pretended import make_clips, outcome_of, pretended_answer

TABLE = table_of([("id",), ("question",), ("answer",), ("tokens", "visual")])
COLUMN_KEYS = [
    *(("id",), ("question",), ("answer",), ("tokens", "visual")),
    *(("video",), ("error", "code"), ("error", "message"), ("key",)),
]
COLUMNS = "id,question,answer,tokens.visual,video,error.code,error.message,key"
WITHOUT_ERRORS = "id,question,answer,tokens.visual,video,key"


@pytest.fixture
def outcomes(tmp_path: Path) -> list[Outcome]:
    """Two answers and an error, whose texts have what a table's own notation has."""
    clips = make_clips(tmp_path / "clips", "a.mp4", 'b,"x.mp4', "c.mp4")
    *good, bad = [ask for (ask,) in settled_in(clips)]
    answers = [outcome_of(ask, pretended_answer("What?")) for ask in good]
    answers[0].line["answer"] = 'a, "b"\nand\r\nc'
    return [*answers, outcome_of(bad, VideoError('it is\n"torn"'))]


def write(path: Path, outcomes: list[Outcome]) -> bytes:
    with open_results(path, TABLE) as results:
        for outcome in outcomes:
            results.add(outcome)
    return path.read_bytes()


def test_a_row_each_behind_the_names_of_the_columns(tmp_path, outcomes) -> None:
    path = tmp_path / "results.csv"
    lines = write(path, outcomes).decode().splitlines()
    assert (lines[0], len(lines)) == (COLUMNS, 4)
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["key"] for row in rows] == [outcome.key for outcome in outcomes]
    assert [row["error.code"] for row in rows] == ["", "", "video_unreadable"]
    assert rows[0]["answer"] == r'a, "b"\nand\r\nc'
    assert rows[1]["video"].endswith('b,"x.mp4')
    assert rows[1]["tokens.visual"] == str(outcomes[1].line["tokens"]["visual"])


def test_it_resumes(tmp_path, outcomes) -> None:
    path = tmp_path / "results.csv"
    before = write(path, outcomes[1:])
    with open_results(path, TABLE) as results:
        assert [results.state(one.key) for one in outcomes] == [None, "answered", "failed"]
        assert list(results.reasons) == [outcomes[2].key]
        assert results.reasons[outcomes[2].key].endswith(r'c.mp4: it is\n"torn"')
        results.add(outcomes[0])
    assert path.read_bytes().startswith(before)
    assert path.read_bytes().count(COLUMNS.encode()) == 1


def test_what_is_answered_at_last_takes_the_failures_place(tmp_path, outcomes) -> None:
    path = tmp_path / "results.csv"
    write(path, outcomes)
    later = Outcome(outcomes[2].key, outcomes[1].line | {"key": outcomes[2].key})
    lines = write(path, [later]).decode().splitlines()
    assert lines[0] == WITHOUT_ERRORS
    assert [line[-32:] for line in lines[1:]] == [outcome.key for outcome in outcomes]
    assert "torn" not in path.read_text()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_columns_of_errors_come_with_the_first_error(tmp_path, outcomes) -> None:
    path = tmp_path / "results.csv"
    assert write(path, outcomes[:2]).decode().splitlines()[0] == WITHOUT_ERRORS
    before = rows_of(path)
    assert write(path, outcomes[2:]).decode().splitlines()[0] == COLUMNS
    none = {"error.code": "", "error.message": ""}
    assert rows_of(path)[:2] == [row | none for row in before]
    # Named ones are there from the first row on.
    named = table_of([("answer",), ("error", "code"), ("id",)])
    with open_results(tmp_path / "named.csv", named):
        pass
    assert (tmp_path / "named.csv").read_text() == "answer,error.code,video,id,key\n"


def test_rows_are_in_the_order_of_the_questions_once_it_is_closed(tmp_path, outcomes) -> None:
    path = tmp_path / "results.csv"
    others = [
        replace(one, key=key * 32, line=one.line | {"key": key * 32})
        for one, key in zip(outcomes, "012", strict=True)
    ]
    write(path, [others[0], outcomes[2], others[1], outcomes[0]])
    with open_results(path, TABLE) as results:
        results.add(outcomes[1])
        assert rows_of(path)[-1]["key"] == outcomes[1].key
        results.asked = [one.key for one in outcomes]
    # Rows of other questions stay where they are.
    expected = [others[0], outcomes[0], others[1], outcomes[1], outcomes[2]]
    assert [row["key"] for row in rows_of(path)] == [one.key for one in expected]
    assert rows_of(path)[1]["answer"] == r'a, "b"\nand\r\nc'
    before = path.stat()
    with open_results(path, TABLE) as results:
        results.asked = [one.key for one in outcomes]
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("when", ["the first error", "the order"])
def test_what_is_killed_while_the_table_is_replaced_has_lost_nothing(
    tmp_path, outcomes, when, monkeypatch
) -> None:
    path = tmp_path / "results.csv"
    write(path, outcomes[:2] if when == "the first error" else outcomes[::-1])
    before = path.read_bytes()

    def add_all() -> None:
        with open_results(path, TABLE) as results:
            for one in outcomes:
                if results.state(one.key) is None:
                    results.add(one)
            results.asked = [one.key for one in outcomes]

    monkeypatch.setattr(output_file.os, "replace", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        add_all()
    assert path.read_bytes() == before
    # A full disk is named, and is no harm either.
    monkeypatch.setattr(output_file.os, "replace", Mock(side_effect=OSError(28, "No space left")))
    with pytest.raises(OutputError, match=r"\(No space left\); free some space"):
        add_all()
    assert path.read_bytes() == before
    monkeypatch.undo()
    add_all()
    assert [row["key"] for row in rows_of(path)] == [one.key for one in outcomes]


@pytest.mark.parametrize("left", [1, 20, len(COLUMNS), len(COLUMNS) + 3, -1, -33])
def test_a_torn_row_is_asked_again(tmp_path, outcomes, left) -> None:
    path = tmp_path / "results.csv"
    content = write(path, outcomes[:1])
    for torn in (content[:left], content[:left] + b"\0" * 100):
        path.write_bytes(torn)
        with open_results(path, TABLE) as results:
            assert results.damaged == 1
            assert results.state(outcomes[0].key) is None
            results.add(outcomes[0])
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        "id,question,answer,video,error.code,error.message,key\n",
        "name,age\nx,3\n",
        COLUMNS + "\n1,2,3\n",
        COLUMNS + "\n,,,,,,,no key\n",
        "half a line of somebody else's",
    ],
)
def test_a_table_of_somebody_else_stays(tmp_path, content) -> None:
    path = tmp_path / "results.csv"
    path.write_text(content)
    with (
        pytest.raises(OutputError, match="isn't a row of a table of dycoke batch with the columns"),
        open_results(path, TABLE),
    ):
        pass
    assert path.read_text() == content


def saved(content: bytes, separator: str, encoding: str, turned: bool) -> bytes:
    """A table as a spreadsheet program saves it, by another writer of CSV than the package's."""
    rows = [*csv.reader(io.StringIO(content.decode(), newline=""))]
    if turned:
        rows = [row[::-1] for row in rows]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode(encoding)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_that_a_spreadsheet_program_saved_resumes(
    tmp_path, outcomes, separator, encoding, turned
) -> None:
    path = tmp_path / "results.csv"
    outcomes[1].line["answer"] = "Où? Là; là"
    before = write(path, outcomes[1:])
    path.write_bytes(saved(before, separator, encoding, turned))
    with open_results(path, TABLE) as results:
        assert (results.respelled, results.damaged) == (True, 0)
        assert [results.state(one.key) for one in outcomes] == [None, "answered", "failed"]
        results.add(outcomes[0])
    assert path.read_bytes() == before + row(outcomes[0].line, COLUMN_KEYS, one_line=True).encode()
    with open_results(path, TABLE) as results:
        assert not results.respelled


def test_a_row_may_end_where_its_cells_are_empty(tmp_path, outcomes) -> None:
    path = tmp_path / "results.csv"
    before = write(path, outcomes[:2])
    rows = [row[::-1] for row in csv.reader(io.StringIO(before.decode(), newline=""))]
    text = "\r\n".join(";".join(f'"{c}"' if c else "" for c in row).rstrip(";") for row in rows)
    path.write_text(text.replace('b,"x', 'b,""x').replace('a, "b"', 'a, ""b""') + "\r\n")
    with open_results(path, TABLE) as results:
        assert results.respelled
    assert path.read_bytes() == before
