"""`dycoke convert`: answers in JSON Lines as a CSV table or a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dycoke_cli.cli import render
from dycoke_cli.cli.flags import options
from dycoke_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from dycoke_cli.runs.results_table import Field

Lines = Annotated[
    Path,
    typer.Argument(metavar="LINES", help="Answers in JSON Lines.", show_default=False),
]
Table = Annotated[
    Path,
    typer.Argument(
        metavar="TABLE",
        help="New file that ends in .csv or .parquet (needs the package pyarrow).",
        show_default=False,
    ),
]
Fields = Annotated[
    str | None,
    typer.Option(
        metavar="KEY,…",
        help="Columns, such as id,answer,tokens.visual. Default: those of a table of `dycoke "
        "batch`.",
        show_default=False,
    ),
]


def convert(
    lines: Lines, table: Table, fields: Fields = None, quiet: options.Quiet = False
) -> None:
    """Convert answers from JSON Lines to a table: CSV or Parquet.

    Examples:
        dycoke convert answers.jsonl answers.csv
        dycoke convert answers.jsonl answers.parquet --fields id,answer,seconds.total

    LINES is what `dycoke batch` and `dycoke ask --json` write. From a CSV table, `dycoke batch`
    resumes: with the same --fields and --out TABLE.
    """
    # Imported late: help and completion need the flags alone.
    from dycoke_cli.cli.commands.batch_lines import parse_fields
    from dycoke_cli.extras import need
    from dycoke_cli.runs.converting import read_lines, write_csv, write_parquet
    from dycoke_cli.storage.output_file import check_output_file, unwritable
    from dycoke_cli.unicode import display_name

    name, suffix = display_name(table), table.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UsageError(f"{name}: name a file that ends in .csv or .parquet")
    if suffix == ".parquet":
        need("pyarrow", "eval", f"{name}, a Parquet file,")
    check_output_file(table, "TABLE", "name a file", folder=OutputError)
    if table.exists():
        # It may be a table that a run resumes from, with answers that LINES doesn't have.
        raise OutputError(f"{name} exists, and stays as it is; name another file, or delete it")
    columns = None if fields is None else parse_fields(fields)
    answers = read_lines(lines)
    write = write_csv if suffix == ".csv" else write_parquet
    try:
        write(table, answers, columns or _columns(answers))
    except OSError as error:
        raise OutputError(unwritable(table, error, "file")) from error
    if not quiet:
        render.note(f"{len(answers)} answer{'s' if len(answers) != 1 else ''} in {name}")


def _columns(lines: Iterable[dict[str, Any]]) -> list[Field]:
    """The columns of `dycoke batch`: of typed answers and of objects, if all of them are."""
    from dycoke_cli.cli.commands import batch_lines

    answered = [line for line in lines if "error" not in line]
    if answered and all("probabilities" in line for line in answered):
        options = dict.fromkeys(text for line in answered for text in line["probabilities"])
        is_score = all("mean" in line for line in answered)
        # Options of a score are the same in all lines; open numbers differ, and get no columns.
        if is_score and any(line["probabilities"].keys() != options.keys() for line in answered):
            options = {}
        return batch_lines.typed_fields(options, is_score)
    if answered and all(isinstance(line.get("parsed"), dict) for line in answered):
        names = dict.fromkeys(name for line in answered for name in line["parsed"])
        return batch_lines.object_fields(names)
    return batch_lines.parse_fields(batch_lines.CSV_FIELDS)
