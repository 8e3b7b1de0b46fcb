"""Readers of annotation files as published: JSON, JSON lines, CSV and Parquet.

Malformed content raises an error of one sentence that names the file and the row.
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.errors import UsageError
from dycoke_cli.extras import how_to_install
from dycoke_cli.storage.input_file import (
    LFS_POINTER,
    is_lfs_pointer,
    json_lines,
    naming,
    read_file,
    read_text,
    separator_of,
    table_rows,
)
from dycoke_cli.unicode import display_name

ROW_FILES = (".parquet", ".json", ".jsonl", ".csv")
"""Suffixes of the files that `read_rows` reads."""
_COLUMNS = ("video", "question", "answer")  # by which the separator is known
_SHOWN = 40
_MOST_TEXTS = 26  # options have a letter each
_LONGEST_S = 1e9  # thirty years


@dataclass(frozen=True)
class AnnotationRow:
    """Row of an annotation file, with typed access to its fields."""

    where: str  # file and row, for errors
    fields: Mapping[str, Any]  # values by field name

    def text(self, name: str) -> str:
        """Non-empty text of a field; a number is converted."""
        value = self.fields[name]
        # A bool is an int in Python; an answer "true" in JSON is more likely a mistake.
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            raise self.wrong(name, "isn't a text")
        return str(value)

    def index(self, name: str, below: int) -> int:
        """Whole number in `[0, below)`."""
        value = self.fields[name]
        try:
            number = int(str(value))
        except ValueError:  # also raised for thousands of digits, Python's limit of a conversion
            raise self.wrong(name, "isn't a whole number") from None
        if not 0 <= number < below:
            raise self.wrong(name, f"is out of range (0 to {below - 1})")
        return number

    def seconds(self, name: str) -> float:
        """Non-negative time in seconds."""
        value = self.fields[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(name, "isn't a number of seconds")
        if not 0 <= value <= _LONGEST_S:  # true for NaN, too
            raise self.wrong(name, "isn't a time from 0 on")
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """List of 2 to 26 texts; CSV files have it as a Python or JSON literal."""
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
        """Value of a field with an enumerated range."""
        value = self.fields[name]
        if value not in known:
            raise self.wrong(name, f"is none of {', '.join(map(str, known))}")
        return value

    def wrong(self, name: str, why: str) -> UsageError:
        """Error about a field; `why` follows its value in the sentence."""
        text = str(self.fields[name])
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return UsageError(f"{self.where}: {name} {display_name(shown)!r} {why}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def read_rows(path: Path) -> list[AnnotationRow]:
    """Read the rows of an annotation file."""
    if path.suffix == ".parquet":
        records: Iterable[Any] = _parquet(path)
    elif path.suffix in (".csv", ".jsonl"):
        with naming(path.name, ": was its download interrupted?"):
            text = _text(path)
            is_table = path.suffix == ".csv"
            read = table_rows(text, separator_of(text, _COLUMNS)) if is_table else json_lines(text)
            records = [fields for _, fields in read][is_table:]  # without the header
    else:
        records = read_json(path, list)
    rows = [
        AnnotationRow(f"{path.name}, row {number}", fields)
        for number, fields in enumerate(records, 1)
    ]
    if not rows:
        raise UsageError(f"{path.name} has no rows: was its download interrupted?")
    for row in rows:
        if not isinstance(row.fields, dict):
            raise UsageError(f"{row.where} isn't an object")
    return rows


def read_json(path: Path, kind: type) -> Any:
    """Read a JSON file whose content must be a list or a dict."""
    text = _text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(
            f"{path.name} isn't JSON, or is cut off: was its download interrupted?"
        ) from None
    if not isinstance(content, kind):
        raise UsageError(
            f"{path.name} isn't {'a list' if kind is list else 'an object'}, as this benchmark has "
            "it: is it that of another?"
        )
    return content


def check_fields(
    rows: Iterable[AnnotationRow], needed: Collection[str], known: Collection[str]
) -> list[str]:
    """Check that all rows have the fields of a benchmark."""
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
    if is_lfs_pointer(path):
        raise UsageError(f"{path.name} {LFS_POINTER}")
    with naming(path.name):
        return read_text(path)


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{path.name} is Parquet, which needs another package: {how_to_install('eval')} (or "
            "save its rows as .jsonl beside it)"
        ) from None
    if is_lfs_pointer(path):
        raise UsageError(f"{path.name} {LFS_POINTER}")
    try:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(read_file(path))).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError):  # the last from column names
        raise UsageError(
            f"{path.name} can't be read as Parquet: was its download interrupted?"
        ) from None
    return rows
