"""Results of a batch as a CSV table, from which a run is resumed like from JSON Lines.

Rows are appended as answers finish. The columns of errors are added at the first failure, and rows
are put in the order of the questions when the file is closed. Both replace the file atomically.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.results import ResultsFile
from dycoke_cli.runs.spreadsheet import decode, rows, separator_of
from dycoke_cli.storage.output_file import replace_content
from dycoke_cli.unicode import shown

Field = tuple[str, ...]
"""Path of a key: `("tokens", "visual")`."""

ERRORS: tuple[Field, ...] = (("error", "code"), ("error", "message"))
"""Columns that a table has once there is an error."""
_IDS = (("id",), ("key",))

# Characters at which a spreadsheet starts to parse a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_KEY = re.compile(r"[0-9a-f]{32}")


def table_of(fields: Sequence[Field]) -> type[ResultsFile]:
    """A class of results files that are tables."""
    plain, failing = columns_of(fields), columns_of(fields, errors=True)
    named = header(plain)

    class ResultsTable(ResultsFile):
        """A table with these columns; a row is one line, since line breaks in cells are escaped."""

        what = f"a row of a table of dycoke batch with the columns {named.strip()}"
        begin = named.encode()
        _columns = plain

        def open(self) -> None:
            """Open the table for appending, and write the names of columns if it is empty."""
            if self._respelled is not None:
                replace_content(self.path, self._respelled)
            super().open()
            if not self._size:
                self.write(self.begin)

        def add(self, outcome: Outcome) -> None:
            """Write a row, and add the columns of errors before the first one that needs them."""
            if outcome.failed and self._columns != failing:
                with self.path.open("rb") as file:
                    content = _with_columns(file, self._columns, failing)
                self.replace(content)
                self._columns = failing
            super().add(outcome)

        def encode(self, line: dict[str, Any]) -> bytes:
            return row(line, self._columns, one_line=True).encode()

        def decode(self, line: bytes) -> dict[str, Any] | None:
            if line == header(self._columns).encode():
                return None
            try:
                (cells,) = csv.reader([line.decode()], strict=True)
            except csv.Error as error:
                raise ValueError(str(error)) from error
            values = dict(zip(self._columns, cells, strict=True))
            if not _KEY.fullmatch(values["key",]):
                raise ValueError("no key")
            found: dict[str, Any] = {name: values[name,] for name in ("key", "video")}
            if values.get(ERRORS[0]):
                found["error"] = {"message": values.get(ERRORS[1], "")}
            if cell := values.get(("warnings",)):
                found["warnings"] = cell
            return found

        def _tidy(self) -> None:
            if not (self._replaced or self.asked):
                return
            lines = self._last_lines()
            asked = [key for key in self.asked if key in lines]
            # Rows of other questions stay where they are.
            places, own = {*asked}, iter(asked)
            ordered = (lines[next(own) if key in places else key] for key in lines)
            failed = "failed" in self._states.values()
            content = _with_columns(ordered, self._columns, failing if failed else plain)
            if content != self.path.read_bytes():
                replace_content(self.path, content)

        def _opened(self) -> BinaryIO:
            file = super()._opened()
            first = file.readline()
            if first == header(failing).encode():
                self._columns = failing
            elif first != self.begin:
                file.seek(0)
                self._respell(file.read())
            if self._respelled is not None:
                file.close()
                return io.BytesIO(self._respelled)
            file.seek(0)
            return file

        def _respell(self, content: bytes) -> None:
            for columns in (plain, failing):
                if (found := _respelled(content, columns)) is not None:
                    self._respelled, self._columns = found, columns

        def _is_begun(self, line: bytes) -> bool:
            # A row may begin with anything. Behind the names of the columns, what has no end is a
            # row that a crash cut off.
            torn = not line.endswith(b"\n") or not line.strip(b"\0\n")
            return (torn and self._size > len(line)) or super()._is_begun(line)

    return ResultsTable


def _with_columns(lines: Iterable[bytes], old: list[Field], new: list[Field]) -> bytes:
    """The lines of a table, header first, with other columns; new ones are empty."""
    if old == new:
        return b"".join(lines)
    table = csv.reader((line.decode() for line in lines), strict=True)
    next(table)
    found = (dict(zip(old, cells, strict=True)) for cells in table)
    return "".join([header(new), *(_row([row.get(f) for f in new]) for row in found)]).encode()


def _respelled(content: bytes, columns: Sequence[Field]) -> bytes | None:
    """A table that a spreadsheet program saved, as it was before; None if it isn't the table.

    Its columns may be in another order.
    """
    names = [".".join(field) for field in columns]
    try:
        text, _ = decode(content)
        first, *found = rows(text, separator_of(text, [name.casefold() for name in names]))
    except ValueError:  # no text, no CSV, or no rows
        return None
    if sorted(filter(None, first.cells)) != sorted(names):
        return None
    places = [first.cells.index(name) for name in names]
    cells = [[*row.cells, *[""] * len(first.cells)] for row in found]
    lines = [_row([row[place].replace("\n", r"\n") for place in places]) for row in cells]
    return "".join([header(columns), *lines]).encode()


def columns_of(fields: Sequence[Field], *, errors: bool = False) -> list[Field]:
    """The columns of a table with these fields: those by which a run is resumed are added.

    Args:
        errors: whether a question failed.
    """
    columns = with_more(fields, [("video",), *(ERRORS if errors else ())])
    return columns if ("key",) in columns else [*columns, ("key",)]


def with_more(fields: Sequence[Field], more: Sequence[Field]) -> list[Field]:
    """Fields with those that they don't have yet, in front of the ids at their end."""
    end = len(fields)
    while end and fields[end - 1] in _IDS:
        end -= 1
    return [*fields[:end], *(field for field in more if field not in fields), *fields[end:]]


def header(fields: Sequence[Field]) -> str:
    """CSV header."""
    return _row([".".join(field) for field in fields])


def row(line: dict[str, Any], fields: Sequence[Field], *, one_line: bool = False) -> str:
    """CSV row of a result; values other than texts and numbers are JSON, an empty list is empty.

    Control characters are escaped, and a text that a spreadsheet would parse as a formula gets an
    apostrophe in front.
    """
    cells = [_cell(value_of(line, field)) for field in fields]
    if one_line:
        cells = [x.replace("\n", r"\n") if isinstance(x, str) else x for x in cells]
    return _row(cells)


def value_of(line: Any, field: Field) -> Any:
    """Value of a key of a result; None if it has no such key."""
    for key in field:
        line = line.get(key) if isinstance(line, dict) else None
    return line


def text_of(cell: str) -> str:
    """The text of a cell: without the apostrophe in front that makes no formula of it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _cell(value: Any) -> str | int | float | None:
    if isinstance(value, str):
        text = shown(value)
        return f"'{text}" if text.startswith(_FORMULA) else text
    if value in (None, []):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value)


def _row(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
