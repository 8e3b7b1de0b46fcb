"""Results of a batch on stdout: JSON objects, selected fields (`--fields`), or CSV (`--csv`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from dycoke_cli.answer.answer import SCHEMA, answer_parts
from dycoke_cli.answer.json_schema import schema_of
from dycoke_cli.cli import output
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.typed_options import OpenNumber
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.tables import (
    ERRORS,
    TEXT_FIELDS,
    Field,
    fields_of,
    header,
    object_fields,
    row,
    typed_fields,
    value_of,
    with_more,
    with_parts,
)

_FREE = GenerationOptions()


class Lines:
    """Receiver of outcomes that writes them to stdout; it can't resume an earlier run.

    Attributes:
        fields: selected ones; empty for whole objects.

    Args:
        fields: those of `--fields`; None without it.
        generation: options or fields of the answers, which by default are columns.
        parts: whether parts of videos are asked about: start and end are columns by default.
        times: whether their times are searched: the answer, which they are, is a column too.
        clear: removes the progress display from the terminal that a line is written to.
    """

    def __init__(
        self,
        fields: list[Field] | None,
        as_csv: bool,
        generation: GenerationOptions = _FREE,
        *,
        parts: bool = False,
        times: bool = False,
        clear: Callable[[], None] = lambda: None,
    ) -> None:
        self._clear = clear
        self.fields = fields or []
        if as_csv and fields is None:
            self.fields = table_fields(generation, times=times)
            if parts:
                self.fields = with_parts(self.fields)
        self._as_csv = as_csv
        # On stdout the names of the columns come before the first error.
        self._columns = with_more(self.fields, ERRORS) if fields is None else self.fields
        self._begun = False
        self.reasons: dict[str, str] = {}

    def state(self, key: str) -> str | None:
        """Always None: earlier output isn't readable."""
        return None

    def warned(self, key: str) -> bool:
        """Always False, likewise."""
        return False

    def add(self, outcome: Outcome) -> None:
        """Write a line."""
        if sys.stdout.isatty():
            self._clear()
        if not self.fields:
            output.write_json(outcome.line)
            return
        if not self._as_csv:
            output.write_json(chosen(outcome.line, self.fields))
            return
        if not self._begun:
            output.write(header(self._columns))
            self._begun = True
        output.write(row(outcome.line, self._columns))


def parse_fields(given: str) -> list[Field]:
    """Parse a list of key paths of an answer."""
    fields = fields_of(given)
    for field in fields:
        if not _is_key(field):
            raise UsageError(
                f"--fields: an answer has no key {'.'.join(field)!r}; `dycoke schema answer` has "
                "them all"
            )
    return fields


def table_fields(generation: GenerationOptions, *, times: bool = False) -> list[Field]:
    """Key paths of the CSV columns of answers.

    Of typed ones the choice, and a column for each option; of objects one for each field. Of
    numbers there is none for each: they differ from answer to answer.
    """
    typed, structured = generation.typed, generation.structured
    if typed is not None:
        if isinstance(typed, OpenNumber):
            return typed_fields((), True)
        return typed_fields(typed.texts, typed.is_score, times=times)
    if structured is not None and structured.properties:
        return object_fields(structured.properties)
    return fields_of(TEXT_FIELDS)


def chosen(line: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """Select fields of a result; missing ones are null."""
    parts: dict[str, Any] = {}
    for field in fields:
        place = parts
        for key in field[:-1]:
            place = place.setdefault(key, {})
        place[field[-1]] = value_of(line, field)
    return parts


def _is_key(field: Field) -> bool:
    """Whether any kind of answer has a key."""
    return any(_has(schema, field) for schema in _kinds_of_answers().values())


@cache
def _kinds_of_answers() -> dict[str, Any]:
    """Their JSON Schemas."""
    definitions: dict[str, Any] = schema_of(SCHEMA, "", answer_parts())["$defs"]
    return definitions


def _has(schema: dict[str, Any], field: Field) -> bool:
    for key in field:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        # An open object, such as a method's parameters, may have any key.
        if key not in properties and (others is False or schema.get("type") == "null"):
            return False
        schema = properties.get(key, others)
    return True
