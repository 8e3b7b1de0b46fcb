"""The lines of a batch on stdout: whole objects, parts of them (`--fields`), or rows (`--csv`)."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.answer.json_schema import schema_of
from dycoke_cli.cli import output
from dycoke_cli.cli.commands.schema import answer_parts
from dycoke_cli.cli.text import shown
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.outcome import Outcome

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
CSV_FIELDS = "id,video,question,answer,finish_reason,error.code,error.message"


class Lines:
    """Results that go to stdout; what was written there before isn't known.

    Args:
        fields: of `--fields`, or None.
        as_csv: rows in place of objects.

    Raises:
        UsageError: a field that no answer has.
    """

    def __init__(self, fields: str | None, as_csv: bool) -> None:
        given = CSV_FIELDS if as_csv and fields is None else fields
        self._fields = None if given is None else parse_fields(given)
        self._as_csv = as_csv
        self._begun = False
        self.reasons: dict[str, str] = {}

    def state(self, key: str) -> str | None:
        """None: nothing is known."""
        return None

    def add(self, outcome: Outcome) -> None:
        """Write a line.

        Raises:
            BrokenPipeError: the reader has gone.
            OutputError: nothing can be written there.
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
    """The paths of keys of an answer: "tokens.visual" is `("tokens", "visual")`.

    Raises:
        UsageError: an answer has no such key.
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
    """The parts of a line at these paths; null where it has none."""
    parts: dict[str, Any] = {}
    for field in fields:
        place = parts
        for key in field[:-1]:
            place = place.setdefault(key, {})
        place[field[-1]] = _value(line, field)
    return parts


def header(fields: list[tuple[str, ...]]) -> str:
    """The first line of a table."""
    return _row([".".join(field) for field in fields])


def row(line: dict[str, Any], fields: list[tuple[str, ...]]) -> str:
    """A line as a row; what isn't a text or a number is JSON.

    Text is shown, never interpreted: control characters as escapes, and what a spreadsheet would
    take for a formula behind an apostrophe.
    """
    return _row([_cell(_value(line, field)) for field in fields])


def _known(schema: dict[str, Any], field: tuple[str, ...]) -> bool:
    for key in field:
        properties = schema.get("properties", {})
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
