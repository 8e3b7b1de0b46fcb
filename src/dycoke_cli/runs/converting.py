"""Results of a batch as another file: a CSV table, from which a run resumes, or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.results_table import Field, columns_of, header, row, value_of
from dycoke_cli.storage.output_file import replacing
from dycoke_cli.unicode import display_name


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of answers in JSON Lines; of a question with several lines, the last one.

    Raises:
        UsageError: it can't be read, has no lines, or one isn't an answer of dycoke.
    """
    name = display_name(path)
    lines: dict[str | int, dict[str, Any]] = {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{name} can't be read ({error.strerror})") from error
    for number, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict) or line.get("schema") != SCHEMA:
            raise UsageError(
                f"{name}, line {number}: that isn't an answer of dycoke; give a file that `dycoke "
                "batch … --out FILE.jsonl` wrote"
            )
        # A failure that was asked again has an earlier line if the run was killed.
        key = line.get("key", number)
        lines.pop(key, None)
        lines[key] = line
    if not lines:
        raise UsageError(f"{name} has no answers yet")
    return [*lines.values()]


def write_csv(path: Path, lines: Sequence[dict[str, Any]], fields: Sequence[Field]) -> None:
    """Write the table that `dycoke batch --out` would have written.

    Args:
        path: of the file; it is replaced.
        lines: the results.
        fields: columns; those by which a run resumes are added.

    Raises:
        OSError: it can't be written; `path` is unchanged.
    """
    columns = columns_of(fields)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(header(columns))
        file.writelines(row(line, columns, one_line=True) for line in lines)


def write_parquet(path: Path, lines: Sequence[dict[str, Any]], fields: Sequence[Field]) -> None:
    """Write a Parquet file, in which numbers and lists keep their types.

    Args: as of `write_csv`; pyarrow has to be installed.

    Raises:
        OSError: it can't be written; `path` is unchanged.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {
        ".".join(field): [value_of(line, field) for line in lines] for field in columns_of(fields)
    }
    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)
