"""Tables of answers: CSV, which spreadsheet programs read, and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.errors import UsageError, need
from dycoke_cli.storage.input_file import LineError, json_lines, naming, read_text
from dycoke_cli.storage.made_files import check_replaceable, stays, write_made
from dycoke_cli.unicode import display_name, shown

Field = tuple[str, ...]
"""Path of a key: `("tokens", "visual")`."""
Lines = Sequence[dict[str, Any]]
"""Answers and failures."""

LAST_FIELDS = "finish_reason,id"
"""Columns behind those that people read."""
_OF_ERRORS = (("error", "code"), ("error", "message"))
_CONFIDENCE = ("confidence",)
"""Column of the probability of the option that is the answer."""
_SHARES = {"confidence", "margin", "probabilities", "scoring"}
_DIGITS = 3  # of a share in a table; JSON has all

# Characters at which a spreadsheet starts to parse a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class TableFile:
    """A table of answers, which a run makes of its journal when it ends."""

    path: Path
    make: Callable[[Sequence[Field], Lines], bytes]  # of columns and answers
    fields: Sequence[Field] | None = None  # columns; None for those that the answers have values of

    @property
    def journal(self) -> Path:
        """The file that a batch resumes from, and makes the table of."""
        return self.path.with_suffix(".jsonl")

    def check(self, *, resumes: bool = True) -> None:
        """Check that the table can be written, before anything is asked."""
        if self.path.suffix.lower() == ".parquet":
            need("pyarrow", "eval", f"{display_name(self.path)}, a Parquet file,")
        check_replaceable(self.path, resumes=resumes)

    def write(self, lines: Lines) -> str:
        """Write the table; returns how many rows it has, as a sentence."""
        columns = usual_fields(lines)
        if self.fields is not None:
            more = _OF_ERRORS if any("error" in line for line in lines) else ()
            columns = [*dict.fromkeys((*self.fields, ("video",), *more, ("key",)))]
        if not write_made(self.path, self.make(columns, lines)):
            raise stays([self.path])
        what = "caption" if lines and _is_caption(lines[0]) else "answer"
        return f"{len(lines):,} {what}{'s' * (len(lines) != 1)} in {display_name(self.path)}"


def csv_of(columns: Sequence[Field], lines: Lines) -> bytes:
    """A CSV table; each row is one line, since line breaks in cells are escaped.

    Control characters are escaped, too. Values other than texts and numbers are JSON, an empty list
    is empty, and a text that a spreadsheet would parse as a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(".".join(field) for field in columns)
    writer.writerows(
        [_cell(value_of(line, field), field[0] in _SHARES) for field in columns] for line in lines
    )
    # By a byte order mark a spreadsheet knows that it is UTF-8.
    content = text.getvalue()
    return content.encode("utf-8" if content.isascii() else "utf-8-sig")


def parquet_of(columns: Sequence[Field], lines: Lines) -> bytes:
    """A Parquet file, in which numbers and lists keep their types; pyarrow must be installed."""
    import pyarrow
    from pyarrow import parquet

    values = {".".join(field): [value_of(line, field) for line in lines] for field in columns}
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(values), content)
    return content.getvalue()


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Read answers in JSON Lines; of a question with several lines, the last one. Or captions."""
    name = display_name(path)
    if not path.exists():
        raise UsageError(f"{name} doesn't exist: check the spelling and the folder")
    hint = "; give a file that `dycoke batch … --out FILE.jsonl` or `dycoke ask --json` wrote"
    found: dict[str | int, dict[str, Any]] = {}
    with naming(name, hint):
        for number, line in json_lines(read_text(path)):
            if not (isinstance(line, dict) and (line.get("schema") == SCHEMA or _is_caption(line))):
                raise LineError(number, "that isn't an answer of dycoke")
            # A failure that was asked again has an earlier line if the run was killed.
            key = line.get("key") or number
            found.pop(key, None)
            found[key] = line
    if not found:
        raise UsageError(f"{name} has no answers yet")
    return [*found.values()]


def _is_caption(line: dict[str, Any]) -> bool:
    """Whether it is a line of `dycoke caption --out`: a path and a text, under any two keys."""
    return "schema" not in line and [*map(type, line.values())] == [str, str]


def current(lines: Lines) -> list[dict[str, Any]]:
    """The lines about the last content of their videos, whose files may have been replaced."""
    last = {about(line): line.get("digest") for line in lines}
    return [line for line in lines if line.get("digest") == last[about(line)]]


def about(line: dict[str, Any]) -> str:
    """Equal for lines about the same question and video, whatever the model and method."""
    return json.dumps([line.get(key) for key in ("id", "video", "question", "start", "end")])


def usual_fields(lines: Lines) -> list[Field]:
    """The columns of answers by what they are: those that people read, then the machine's."""
    if lines and _is_caption(lines[0]):
        return [(key,) for key in lines[0]]
    answered = [line for line in lines if "error" not in line]
    columns, last = fields_of("video,question,answer"), fields_of(LAST_FIELDS)
    # Names are added as they are: an option or a field may have a dot or a comma in it.
    if answered and all("probabilities" in line for line in answered):
        options = dict.fromkeys(text for line in answered for text in line["probabilities"])
        if any("when" in line for line in answered):  # the answer is the times
            columns.append(("choice",))
        columns += [_CONFIDENCE, *fields_of("scoring.mass")]
        if all("mean" in line for line in answered):
            columns.append(("mean",))
        probabilities = [("probabilities", text) for text in options]
        last = [*fields_of("margin"), *probabilities, *last]
    elif answered and all(isinstance(line.get("parsed"), dict) for line in answered):
        names = dict.fromkeys(name for line in answered for name in line["parsed"])
        columns[2:] = [("parsed", name) for name in names]
    if any({"start", "end"} & {*line} for line in lines):
        columns += fields_of("start,end")
    columns += fields_of("warnings")
    if len(answered) < len(lines):
        columns += _OF_ERRORS
    return [*columns, *last, ("key",)]


def fields_of(names: str) -> list[Field]:
    """Key paths of a list of names: "tokens.visual" becomes `("tokens", "visual")`."""
    return [tuple(name.strip().split(".")) for name in names.split(",")]


def value_of(line: Any, field: Field) -> Any:
    """Value of a key of a result; None if it has no such key."""
    if field == _CONFIDENCE:
        field = ("probabilities", line.get("choice", ""))
    for key in field:
        line = line.get(key) if isinstance(line, dict) else None
    return line


def _cell(value: Any, is_share: bool = False) -> str | int | float | None:
    if isinstance(value, str):
        text = shown(value)
        return ("'" * text.startswith(_FORMULA) + text).replace("\n", r"\n")
    if value in (None, []):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(value, _DIGITS) if is_share else value
    return json.dumps(value)
