"""Measured tables as CSV in docs/data/tables, and the extracts of them that pages show.

`keep` is called by the command that measures. In a page, `<!-- from NAME.csv, by 1 -->` above a
table makes it an extract: headings name the columns, and the first cell (`by 2`: two) the row.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from benchmarks.page import ROOT, cores

DATA = ROOT / "docs" / "data"
TABLES = DATA / "tables"
INDEX = DATA / "README.md"
_LISTED = re.compile(r"\(tables/([\w-]+)(?:\.\d+)?\.csv\)")
_EXTRACT = re.compile(r"(<!-- from ([\w.-]+)\.csv, by (\d) -->\n)((?:\|.*\n)+)")
# Sentences with a commit say where the tables before them were measured.
_MEASURED = re.compile(r"\bcommit\b", re.IGNORECASE)

Rows = Sequence[Sequence[str]]
"""Cells of a table; the first row has the headings."""


@dataclass
class _Table:
    rows: list[list[str]]
    captions: list[str]
    notes: list[str] = field(default_factory=list)


def keep(measured: str, name: str, tables: Path = TABLES) -> None:
    """Write the tables of a Markdown text as CSV, and renew the extracts of pages.

    The file is NAME.csv; of several tables they are NAME.1.csv, NAME.2.csv, ….
    """
    for old in kept_files(name, tables):
        (tables / old).unlink()
    for file, text in csv_files(measured, name).items():
        (tables / file).write_text(text, encoding="utf-8")
    for page in tables.parents[1].rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        if (renewed := with_extracts(text, tables)) != text:
            page.write_text(renewed, encoding="utf-8")


def report(about: str | None, tables: Callable[[], Mapping[str, str]]) -> None:
    """The command line of tables by name: it prints them, and keeps them with `--write`."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="also into docs/data/tables")
    write = parser.parse_args().write
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")
        if write:
            keep(text, name)


def name_here(name: str) -> str:
    """The name of a table that each machine has one of."""
    machine = re.sub(r"\(R\)|Processor", "", cores()).lower()
    return f"{name}-{re.sub(r'[^a-z0-9]+', '-', machine).strip('-')}"


def csv_files(measured: str, name: str) -> dict[str, str]:
    """By file name, the CSV of each table; the sentences about it come first, behind `#`."""
    found: list[_Table] = []
    captions: list[str] = []
    for is_table, lines in groupby(measured.splitlines(), _is_table):
        if is_table:
            head, _, *rows = lines
            found.append(_Table([cells(line) for line in (head, *rows)], captions))
            captions = []
        elif sentence := _sentence(lines):
            unmeasured = [table for table in found if not table.notes]
            if _MEASURED.search(sentence) and unmeasured:
                for table in unmeasured:
                    table.notes.append(sentence)
            else:
                captions.append(sentence)
    files = {}
    for number, table in enumerate(found, 1):
        text = io.StringIO()
        for line in (*table.captions, *captions, *table.notes):
            text.write(f"# {line}\n")
        csv.writer(text, lineterminator="\n").writerows(table.rows)
        files[f"{name}.csv" if len(found) == 1 else f"{name}.{number}.csv"] = text.getvalue()
    return files


def kept_files(name: str, tables: Path = TABLES) -> dict[str, str]:
    """The kept tables of that name, as `csv_files` gives them."""
    paths = sorted([*tables.glob(f"{name}.csv"), *tables.glob(f"{name}.[0-9]*.csv")])
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def read_table(name: str, tables: Path = TABLES) -> Rows:
    """The rows of a kept table, headings first, without the sentences about it."""
    lines = (tables / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return [*csv.reader(line for line in lines if not line.startswith("# "))]


def listed() -> list[str]:
    """The names of the tables that the index of docs/data has a line for."""
    return [*dict.fromkeys(_LISTED.findall(INDEX.read_text(encoding="utf-8")))]


def with_extracts(text: str, tables: Path = TABLES) -> str:
    """A page with the cells of its extracts as they are in the kept tables."""

    def renewed(found: re.Match[str]) -> str:
        begin, name, by, shown = found.groups()
        head, rule, *lines = shown.splitlines()
        rows = read_table(name, tables)
        columns = [rows[0].index(heading) for heading in cells(head)]
        made = [_row(line, rows[1:], columns, int(by), name) for line in lines]
        return begin + "".join(f"{line}\n" for line in (head, rule, *made))

    return _EXTRACT.sub(renewed, text)


def _row(line: str, rows: Rows, columns: Sequence[int], by: int, name: str) -> str:
    """A line of an extract: the cells that name the row as they are, the others of the table."""
    key = cells(line)[:by]
    found = [row for row in rows if [row[column] for column in columns[:by]] == key]
    if len(found) != 1:
        raise SystemExit(f"{name}.csv has {len(found)} rows for {' | '.join(key)}")
    names = [cell.strip() for cell in line.strip("|").split("|")][:by]
    return f"| {' | '.join([*names, *(found[0][column] for column in columns[by:])])} |"


def cells(line: str) -> list[str]:
    """The cells of a line of Markdown, without its marks."""
    return [_plain(cell) for cell in line.strip().strip("|").split("|")]


def _plain(text: str) -> str:
    return re.sub(r"\*\*|`", "", text).replace("<br>", "; ").strip()


def _is_table(line: str) -> bool | None:
    """Whether a line is of a table; None if it is empty."""
    return line.startswith("|") if line.strip() else None


def _sentence(lines: Iterable[str]) -> str:
    """A paragraph on one line, without headings, pictures and tags."""
    text = " ".join(line for line in lines if not re.match(r"#|!\[", line))
    text = re.sub(r"</?[a-z][^>]*>", "", text)
    return " ".join(_plain(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)).split())
