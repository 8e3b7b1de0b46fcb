"""Results of a batch on stdout: JSON objects, selected fields (`--fields`), or CSV (`--csv`)."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.answer.json_schema import schema_of
from dycoke_cli.cli import output
from dycoke_cli.cli.commands.schema import answer_parts
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.unicode import shown

# Characters at which a spreadsheet starts to parse a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
CSV_FIELDS = "id,video,question,answer,finish_reason,error.code,error.message"


class Lines:
    """Receiver of outcomes that writes them to stdout; it can't resume an earlier run.

    Args:
        fields: value of `--fields`, or None.
        as_csv: write CSV rows in place of JSON objects.

    Raises:
        UsageError: an unknown field.
    """

    def __init__(self, fields: str | None, as_csv: bool) -> None:
        given = CSV_FIELDS if as_csv and fields is None else fields
        self._fields = None if given is None else parse_fields(given)
        self._as_csv = as_csv
        self._begun = False
        self.reasons: dict[str, str] = {}

    def state(self, key: str) -> str | None:
        """Always None: earlier output isn't readable."""
        return None

    def add(self, outcome: Outcome) -> None:
        """Write a line.

        Raises:
            BrokenPipeError: the reader closed the pipe.
            OutputError: stdout can't be written.
        """
        if self._fields is None:
            output.write_json(outcome.line)
            return
        if not self._as_csv:
            output.write_json(chosen(outcome.line, self._fields))
            return
        if not self._begun:
            output.write(header(self._fields))
            self._begun = True
        output.write(row(outcome.line, self._fields))


def parse_fields(given: str) -> list[tuple[str, ...]]:
    """Parse a list of key paths: "tokens.visual" becomes `("tokens", "visual")`.

    Raises:
        UsageError: no answer has such a key.
    """
    fields = [tuple(field.strip().split(".")) for field in given.split(",")]
    definitions = schema_of(SCHEMA, "", answer_parts())["$defs"]
    for field in fields:
        if not any(_known(definition, field) for definition in definitions.values()):
            raise UsageError(
                f"--fields: an answer has no key {'.'.join(field)!r}; `dycoke schema answer` has "
                "them all"
            )
    return fields


def chosen(line: dict[str, Any], fields: list[tuple[str, ...]]) -> dict[str, Any]:
    """Select fields of a result; missing ones are null."""
    parts: dict[str, Any] = {}
    for field in fields:
        place = parts
        for key in field[:-1]:
            place = place.setdefault(key, {})
        place[field[-1]] = _value(line, field)
    return parts


def header(fields: list[tuple[str, ...]]) -> str:
    """CSV header."""
    return _row([".".join(field) for field in fields])


def row(line: dict[str, Any], fields: list[tuple[str, ...]]) -> str:
    """CSV row of a result; values other than texts and numbers are JSON.

    Control characters are escaped, and a text that a spreadsheet would parse as a formula gets an
    apostrophe in front.
    """
    return _row([_cell(_value(line, field)) for field in fields])


def _known(schema: dict[str, Any], field: tuple[str, ...]) -> bool:
    for key in field:
        properties = schema.get("properties", {})
        # An open object, such as a method's parameters, may have any key.
        closed = schema.get("additionalProperties") is False or schema.get("type") == "null"
        if key not in properties and closed:
            return False
        schema = properties.get(key, {})
    return True


def _value(line: Any, field: tuple[str, ...]) -> Any:
    for key in field:
        line = line.get(key) if isinstance(line, dict) else None
    return line


def _cell(value: Any) -> str | int | float | None:
    if isinstance(value, str):
        text = shown(value)
        return f"'{text}" if text.startswith(_FORMULA) else text
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    return json.dumps(value)


def _row(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
