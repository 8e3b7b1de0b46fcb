"""Annotation files as they are published: JSON, JSON lines, CSV and Parquet, row by row.

What isn't as a benchmark has it is one sentence that names the file and the row.
"""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.errors import UsageError
from dycoke_cli.extras import how_to_install
from dycoke_cli.unicode import display_name

ROW_FILES = (".parquet", ".json", ".jsonl", ".csv")
"""Suffixes of the files that `read_rows` reads."""
_POINTER = b"version https://git-lfs"
_SHOWN = 40
_MOST_TEXTS = 26  # options have a letter each
_LONGEST_S = 1e9  # thirty years


@dataclass(frozen=True)
class Row:
    """One row of an annotation file.

    Args:
        where: which file and row, for errors.
        fields: as they were read.
    """

    where: str
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A text that isn't empty; numbers are as they are written.

        Raises:
            UsageError: it is neither.
        """
        value = self.fields[name]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            raise self.wrong(name, "isn't a text")
        return str(value)

    def index(self, name: str, below: int) -> int:
        """A whole number from 0 on.

        Raises:
            UsageError: it is none, or out of range.
        """
        value = self.fields[name]
        try:
            number = int(str(value))
        except ValueError:  # of thousands of digits, too
            raise self.wrong(name, "isn't a whole number") from None
        if not 0 <= number < below:
            raise self.wrong(name, f"is out of range (0 to {below - 1})")
        return number

    def seconds(self, name: str) -> float:
        """A time from 0 on.

        Raises:
            UsageError: it is none.
        """
        value = self.fields[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(name, "isn't a number of seconds")
        if not 0 <= value <= _LONGEST_S:  # nor is NaN
            raise self.wrong(name, "isn't a time from 0 on")
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """From 2 to 26 texts; where the file has only text, a list as Python or JSON writes it.

        Raises:
            UsageError: it is no such list.
        """
        value = self.fields[name]
        if isinstance(value, str):
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                raise self.wrong(name, "isn't a list") from None
        if not isinstance(value, list) or len(value) < 2 or not all(map(_is_text, value)):
            raise self.wrong(name, "isn't a list of two texts or more")
        if len(value) > _MOST_TEXTS:
            raise self.wrong(name, f"has {len(value)} texts, and there are {_MOST_TEXTS} letters")
        return tuple(value)

    def one_of(self, name: str, known: Collection[Any]) -> Any:
        """A value that the benchmark has.

        Raises:
            UsageError: it is another.
        """
        value = self.fields[name]
        if value not in known:
            raise self.wrong(name, f"is none of {', '.join(map(str, known))}")
        return value

    def wrong(self, name: str, why: str) -> UsageError:
        """The error of a field: `why` follows its value."""
        text = str(self.fields[name])
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return UsageError(f"{self.where}: {name} {display_name(shown)!r} {why}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def read_rows(path: Path) -> list[Row]:
    """The rows of a table.

    Args:
        path: Parquet, JSON (a list of objects), JSON lines, or CSV with a heading.

    Raises:
        UsageError: the file can't be read, isn't such a table, or holds no row.
    """
    if path.suffix == ".parquet":
        found: Iterable[Any] = _parquet(path)
    elif path.suffix == ".csv":
        found = _csv(path)
    elif path.suffix == ".jsonl":
        found = [
            _json(line, f"{path.name}, line {number}")
            for number, line in enumerate(_text(path).split("\n"), 1)
            if line.strip()
        ]
    else:
        found = read_json(path, list)
    rows = [Row(f"{path.name}, row {number}", fields) for number, fields in enumerate(found, 1)]
    if not rows:
        raise UsageError(f"{path.name} has no rows: was its download interrupted?")
    for row in rows:
        if not isinstance(row.fields, dict):
            raise UsageError(f"{row.where} isn't an object")
        if None in row.fields or None in row.fields.values():
            raise UsageError(f"{row.where} has more or fewer values than there are fields")
    return rows


def read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file, a list or a dict.

    Raises:
        UsageError: the file can't be read, or isn't that.
    """
    content = _json(_text(path), path.name)
    if not isinstance(content, kind):
        raise UsageError(
            f"{path.name} isn't {'a list' if kind is list else 'an object'}, as this benchmark has "
            "it: is it that of another?"
        )
    return content


def check_fields(rows: Iterable[Row], needed: Collection[str], known: Collection[str]) -> list[str]:
    """Make sure that all rows have the fields of a benchmark.

    Args:
        rows: to check.
        needed: fields that are read.
        known: fields that may be there beside them.

    Returns:
        The fields that are neither.

    Raises:
        UsageError: a field that is read isn't there.
    """
    unknown: dict[str, None] = {}
    for row in rows:
        for name in needed:
            if name not in row.fields:
                raise UsageError(
                    f"{row.where} has no field {name!r}: is it the file of another benchmark?"
                )
        unknown |= dict.fromkeys(n for n in row.fields if n not in needed and n not in known)
    return list(unknown)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path.name} can't be read ({error.strerror})") from error
    if content.startswith(_POINTER):
        raise UsageError(f"{path.name} is only a Git LFS pointer: fetch the file with git lfs pull")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path.name} isn't text in UTF-8") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(
            f"{where} isn't JSON, or is cut off: was its download interrupted?"
        ) from None


def _csv(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        found.extend(csv.DictReader(io.StringIO(_text(path), newline="")))
    except csv.Error as error:
        raise UsageError(
            f"{path.name}, row {len(found) + 1} can't be read as CSV ({error}): is a quotation "
            "mark missing?"
        ) from None
    return found


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{path.name} is Parquet, which needs another package: {how_to_install('eval')} (or "
            "save its rows as .jsonl beside it)"
        ) from None
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError):  # the last of a column's name
        raise UsageError(
            f"{path.name} can't be read as Parquet: is it cut off, or only a Git LFS pointer?"
        ) from None
    return rows
