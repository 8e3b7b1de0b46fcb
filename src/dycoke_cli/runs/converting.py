"""Results of a batch as another file: a CSV table or JSON Lines, from which a run resumes, or
Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.results_table import Field, columns_of, header, row, text_of, value_of
from dycoke_cli.runs.spreadsheet import NotCsvError, decode, rows, separator_of
from dycoke_cli.storage.output_file import replacing
from dycoke_cli.unicode import display_name, to_json

Lines = list[dict[str, Any]]
"""Answers and failures."""

SchemaOf = Callable[[Field], dict[str, Any] | None]
"""JSON Schema of a key of an answer; empty where any value is allowed, None for no key."""

_OPEN = ("probabilities", "parsed")
"""Objects whose keys may have a dot."""


def read_answers(path: Path, schema_of: SchemaOf) -> tuple[Lines, list[Field] | None]:
    """Read a file of answers: JSON Lines, or a table of `dycoke batch`.

    A table may have been saved by a spreadsheet program. Control characters that it has escaped
    remain so.

    Returns:
        The answers, of a question with several lines the last one; and the columns of a table.
    """
    name = display_name(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{name} doesn't exist: check the spelling and the folder") from error
    except OSError as error:
        raise UsageError(f"{name} can't be read ({error.strerror})") from error
    columns: list[Field] | None = None
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        found = _json_lines(content, name)
    else:
        columns, found = _table(content, name, schema_of)
    if not found:
        raise UsageError(f"{name} has no answers yet")
    # A failure that was asked again has an earlier line if the run was killed.
    last: dict[str | int, dict[str, Any]] = {}
    for number, line in enumerate(found):
        key = line.get("key") or number
        last.pop(key, None)
        last[key] = line
    return [*last.values()], columns


def _json_lines(content: bytes, name: str) -> Lines:
    lines: Lines = []
    for number, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict) or line.get("schema") != SCHEMA:
            raise _no_answer(name, number)
        lines.append(line)
    return lines


def _table(content: bytes, name: str, schema_of: SchemaOf) -> tuple[list[Field], Lines]:
    try:
        text, _ = decode(content)
        found = [*rows(text, separator_of(text, ("video", "question", "key")))]
    except UnicodeDecodeError as error:
        raise _no_answer(name, content[: error.start].count(b"\n") + 1) from error
    except NotCsvError as error:
        raise _no_answer(name, error.line) from error
    if not found:
        return [], []
    header, *answers = found
    columns = [_field(cell) for cell in header.cells]
    schemas = [schema_of(field) for field in columns]
    if None in schemas or ("video",) not in columns:
        raise _no_answer(name, header.line)
    values = []
    for place, schema in enumerate(schemas):
        cells = [(row.line, row.cells[place] if place < len(row.cells) else "") for row in answers]
        try:
            values.append(_values(cells, schema or {}))
        except _CellError as error:
            raise UsageError(
                f"{name}, line {error.line}: that isn't a value of {header.cells[place]}"
            ) from error
    lines = [_nested(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    return columns, lines


def _field(column: str) -> Field:
    """The key path of a column."""
    before, dot, after = column.partition(".")
    return (before, after) if dot and before in _OPEN else tuple(column.split("."))


class _CellError(ValueError):
    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


def _values(cells: Sequence[tuple[int, str]], schema: dict[str, Any]) -> list[Any]:
    """Values of the cells of a column, each with its line; an empty one has none."""
    if "string" in schema.get("type", ()) or "enum" in schema or "const" in schema:
        return [text_of(cell) or None for _, cell in cells]
    values: list[Any] = []
    for line, cell in cells:
        try:
            values.append(_json(cell) if cell else None)
        except ValueError as error:
            if schema:
                raise _CellError(line) from error
            # A column of any type, such as a field of an object: these are texts.
            return [text_of(cell) or None for _, cell in cells]
    return values


def _json(cell: str) -> Any:
    """The value of a cell, in which a number may have a decimal comma."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return float(cell.replace(",", "."))


def _nested(values: Iterable[tuple[Field, Any]]) -> dict[str, Any]:
    """A result of the values of its keys, without those that have none."""
    line: dict[str, Any] = {}
    for field, value in values:
        if value is None:
            continue
        place = line
        for key in field[:-1]:
            place = place.setdefault(key, {})
        place[field[-1]] = value
    return line


def _no_answer(name: str, line: int) -> UsageError:
    return UsageError(
        f"{name}, line {line}: that isn't an answer of dycoke; give a file that `dycoke batch … "
        "--out FILE.jsonl` or `--out FILE.csv` wrote"
    )


def write_csv(path: Path, lines: Sequence[dict[str, Any]], fields: Sequence[Field]) -> None:
    """Write the table that `dycoke batch --out` would have written."""
    columns = _columns(lines, fields)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(header(columns))
        file.writelines(row(line, columns, one_line=True) for line in lines)


def write_lines(path: Path, lines: Sequence[dict[str, Any]], fields: Sequence[Field]) -> None:
    """Write JSON Lines, with what is known of each answer: of a table, its columns.

    Args:
        fields: of a table; not used here.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="") as file:
        file.writelines(f"{to_json({'schema': SCHEMA} | line)}\n" for line in lines)


def write_parquet(path: Path, lines: Sequence[dict[str, Any]], fields: Sequence[Field]) -> None:
    """Write a Parquet file, in which numbers and lists keep their types.

    Args: as of `write_csv`; pyarrow has to be installed.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {
        ".".join(field): [value_of(line, field) for line in lines]
        for field in _columns(lines, fields)
    }
    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)


def _columns(lines: Sequence[dict[str, Any]], fields: Sequence[Field]) -> list[Field]:
    return columns_of(fields, errors=any("error" in line for line in lines))
