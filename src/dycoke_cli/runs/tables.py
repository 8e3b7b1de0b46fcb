"""Tables of answers: CSV, which spreadsheet programs read, and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.extras import need
from dycoke_cli.storage.input_file import (
    LineError,
    json_lines,
    naming,
    read_file,
    read_text,
    separator_of,
    text_of,
)
from dycoke_cli.storage.made_files import check_replaceable, stays, write_made
from dycoke_cli.storage.output_file import check_output_file
from dycoke_cli.unicode import display_name, shown

Field = tuple[str, ...]
"""Path of a key: `("tokens", "visual")`."""
Lines = Sequence[dict[str, Any]]
"""Answers and failures."""

ERRORS: tuple[Field, ...] = (("error", "code"), ("error", "message"))
"""Columns that a table has where there is an error."""
TEXT_FIELDS = "video,question,answer,warnings,finish_reason,id"
"""Columns of answers in words."""
_IDS = (("id",), ("key",))

# Characters at which a spreadsheet starts to parse a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class TableFile:
    """A table of answers, which a run makes of its journal when it ends."""

    path: Path
    fields: Sequence[Field] | None = None  # columns; None for those that the answers have values of

    @classmethod
    def at(cls, path: Path | None, fields: Sequence[Field] | None) -> TableFile | None:
        """The table at a path; None if its suffix is of no table."""
        is_table = path is not None and path.suffix.lower() in TABLES
        return cls(path, fields) if path is not None and is_table else None

    @property
    def journal(self) -> Path:
        """The file that a batch resumes from, and makes the table of."""
        return self.path.with_suffix(".jsonl")

    def check(self, flag: str, *, resumes: bool = True) -> None:
        """Check that the table can be written, before anything is asked."""
        if self.path.suffix.lower() == ".parquet":
            need("pyarrow", "eval", f"{display_name(self.path)}, a Parquet file,")
        check_output_file(self.path, flag, "name a file", folder=OutputError)
        check_replaceable(self.path, resumes=resumes, made=lambda one: self._parted(one)[0])

    def write(self, lines: Lines) -> str:
        """Write the table; returns how many rows it has, as a sentence.

        Columns that people have added behind the column `key` stay.
        """
        fields = usual_fields(lines) if self.fields is None else self.fields
        columns = columns_of(fields, errors=any("error" in line for line in lines))
        content = TABLES[self.path.suffix.lower()](columns, lines)
        _, added = self._parted(read_file(self.path) if self.path.exists() else b"")
        if added:
            rows = [*csv.reader(io.StringIO(content.decode(), newline=""))]
            none = [""] * max(map(len, added.values()))
            whole = (_row([*cells, *added.pop(cells[-1], none)]) for cells in rows)
            content = "".join(whole).encode()
        # Cells beside a row that isn't there any more aren't lost.
        if added or not write_made(self.path, content, made=lambda one: self._parted(one)[0]):
            raise stays([self.path])
        return f"{len(lines):,} answer{'s' * (len(lines) != 1)} in {display_name(self.path)}"

    def _parted(self, content: bytes) -> tuple[bytes, dict[str, list[str]]]:
        """A table without the columns behind `key`, and their cells by the cell of `key`.

        Another table, or one with other columns of the command there, is whole.
        """
        try:
            text = text_of(content)
            separator = separator_of(text, ("video", "key"))
            found = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            rows = [cells for cells in found if cells]
            end = rows[0].index("key") + 1
        except (ValueError, IndexError, csv.Error):
            end = 0
        if not end or ("key",) in (self.fields or ())[:-1]:
            return content, {}
        added = {cells[end - 1]: cells[end:] for cells in rows if any(cells[end:])}
        return "".join(_row(cells[:end]) for cells in rows).encode(), added


def csv_of(columns: Sequence[Field], lines: Lines) -> bytes:
    """A CSV table; each row is one line, since line breaks in cells are escaped."""
    return "".join([header(columns), *(row(one, columns, one_line=True) for one in lines)]).encode()


def parquet_of(columns: Sequence[Field], lines: Lines) -> bytes:
    """A Parquet file, in which numbers and lists keep their types; pyarrow must be installed."""
    import pyarrow
    from pyarrow import parquet

    values = {".".join(field): [value_of(line, field) for line in lines] for field in columns}
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(values), content)
    return content.getvalue()


TABLES: dict[str, Callable[[Sequence[Field], Lines], bytes]] = {
    ".csv": csv_of,
    ".parquet": parquet_of,
}
"""Writers by the suffix of a file."""


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Read answers in JSON Lines; of a question with several lines, the last one."""
    name = display_name(path)
    if not path.exists():
        raise UsageError(f"{name} doesn't exist: check the spelling and the folder")
    hint = "; give a file that `dycoke batch … --out FILE.jsonl` or `dycoke ask --json` wrote"
    found: dict[str | int, dict[str, Any]] = {}
    with naming(name, hint):
        for number, line in json_lines(read_text(path)):
            if not isinstance(line, dict) or line.get("schema") != SCHEMA:
                raise LineError(number, "that isn't an answer of dycoke")
            # A failure that was asked again has an earlier line if the run was killed.
            key = line.get("key") or number
            found.pop(key, None)
            found[key] = line
    if not found:
        raise UsageError(f"{name} has no answers yet")
    return [*found.values()]


def usual_fields(lines: Lines) -> list[Field]:
    """The columns of answers by what they are: choices, objects or texts, of parts or not."""
    answered = [line for line in lines if "error" not in line]
    fields = fields_of(TEXT_FIELDS)
    if answered and all("probabilities" in line for line in answered):
        options = dict.fromkeys(text for line in answered for text in line["probabilities"])
        is_score = all("mean" in line for line in answered)
        # Options of a score are the same in all lines; open numbers differ, and get no columns.
        if is_score and any(line["probabilities"].keys() != options.keys() for line in answered):
            options = {}
        times = any("when" in line for line in answered)
        fields = typed_fields(options, is_score, times=times)
    elif answered and all(isinstance(line.get("parsed"), dict) for line in answered):
        fields = object_fields(dict.fromkeys(name for one in answered for name in one["parsed"]))
    return with_parts(fields) if any({"start", "end"} & {*line} for line in lines) else fields


# Names are added as they are: an option or a field may have a dot or a comma in it.


def typed_fields(options: Iterable[str], is_score: bool, *, times: bool = False) -> list[Field]:
    """The columns of typed answers; those of scores have a mean."""
    own = f"video,question,{'answer,' * times}choice,warnings,margin{',mean' * is_score}"
    each = [("probabilities", text) for text in options]
    return [*fields_of(own), *each, *fields_of("scoring.mass,finish_reason,id")]


def object_fields(names: Iterable[str]) -> list[Field]:
    """The columns of answers that are objects with these fields."""
    each = [("parsed", name) for name in names]
    return [*fields_of("video,question"), *each, *fields_of("warnings,finish_reason,id")]


def with_parts(fields: Sequence[Field]) -> list[Field]:
    """Columns, and those of answers about parts of videos."""
    behind = fields.index(("video",)) + 1
    return [*fields[:behind], ("start",), ("end",), *fields[behind:]]


def fields_of(names: str) -> list[Field]:
    """Key paths of a list of names: "tokens.visual" becomes `("tokens", "visual")`."""
    return [tuple(name.strip().split(".")) for name in names.split(",")]


def columns_of(fields: Sequence[Field], *, errors: bool = False) -> list[Field]:
    """The columns of a table with these fields, the video and the key.

    Args:
        errors: whether a question failed.
    """
    columns = with_more(fields, [("video",), *(ERRORS if errors else ())])
    return columns if ("key",) in columns else [*columns, ("key",)]


def with_more(fields: Sequence[Field], more: Iterable[Field]) -> list[Field]:
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


def no_formula(text: str) -> str:
    """A text as a cell of CSV: an apostrophe in front of what a spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def without_apostrophe(cell: str) -> str:
    """The text of a cell of `no_formula`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _cell(value: Any) -> str | int | float | None:
    if isinstance(value, str):
        return no_formula(shown(value))
    if value in (None, []):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value)


def _row(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
