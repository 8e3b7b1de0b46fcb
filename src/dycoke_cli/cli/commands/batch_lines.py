"""Results of a batch on stdout: JSON objects, selected fields (`--fields`), or CSV (`--csv`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from dycoke_cli.answer.answer import SCHEMA, answer_parts
from dycoke_cli.answer.json_schema import schema_of
from dycoke_cli.cli import output
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.typed_options import OpenNumber
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.results_table import ERRORS, Field, header, row, value_of, with_more

CSV_FIELDS = "video,question,answer,warnings,finish_reason,id"
_FREE = GenerationOptions()


class Lines:
    """Receiver of outcomes that writes them to stdout; it can't resume an earlier run.

    Attributes:
        fields: selected ones; empty for whole objects.

    Args:
        fields: value of `--fields`, or None.
        generation: options or fields of the answers, which by default are columns.
        parts: whether parts of videos are asked about: start and end are columns by default.
        times: whether their times are searched: the answer, which they are, is a column too.
        clear: removes the progress display from the terminal that a line is written to.
    """

    def __init__(
        self,
        fields: str | None,
        as_csv: bool,
        generation: GenerationOptions = _FREE,
        *,
        parts: bool = False,
        times: bool = False,
        clear: Callable[[], None] = lambda: None,
    ) -> None:
        self._clear = clear
        self.fields = [] if fields is None else parse_fields(fields)
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
    """Parse a list of key paths: "tokens.visual" becomes `("tokens", "visual")`."""
    fields = [tuple(field.strip().split(".")) for field in given.split(",")]
    for field in fields:
        if schema_of_key(field) is None:
            raise UsageError(
                f"--fields: an answer has no key {'.'.join(field)!r}; `dycoke schema answer` has "
                "them all"
            )
    return fields


def schema_of_key(field: Field) -> dict[str, Any] | None:
    """The JSON Schema of a key of an answer; empty where any value is allowed, None for no key."""
    found = (_schema_below(one, field) for one in _definitions().values())
    return next((schema for schema in found if schema is not None), None)


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
    return parse_fields(CSV_FIELDS)


# Names are added as they are: an option or a field may have a dot or a comma in it.


def typed_fields(options: Iterable[str], is_score: bool, *, times: bool = False) -> list[Field]:
    """Key paths of the columns of typed answers; those of scores have a mean."""
    before, _, after = CSV_FIELDS.partition("answer,warnings,")
    before += "answer," if times else ""
    own = parse_fields(f"{before}choice,warnings,margin{',mean' if is_score else ''}")
    each = [("probabilities", text) for text in options]
    return [*own, *each, *parse_fields(f"scoring.mass,{after}")]


def object_fields(names: Iterable[str]) -> list[Field]:
    """Key paths of the columns of answers that are objects with these fields."""
    before, _, after = CSV_FIELDS.partition("answer,")
    each = [("parsed", name) for name in names]
    return [*parse_fields(before.removesuffix(",")), *each, *parse_fields(after)]


def with_parts(fields: Sequence[Field]) -> list[Field]:
    """Key paths of the columns, and those of answers about parts of videos."""
    behind = fields.index(("video",)) + 1
    return [*fields[:behind], ("start",), ("end",), *fields[behind:]]


def chosen(line: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """Select fields of a result; missing ones are null."""
    parts: dict[str, Any] = {}
    for field in fields:
        place = parts
        for key in field[:-1]:
            place = place.setdefault(key, {})
        place[field[-1]] = value_of(line, field)
    return parts


@cache
def _definitions() -> dict[str, Any]:
    """Schemas of the variants of an answer."""
    definitions: dict[str, Any] = schema_of(SCHEMA, "", answer_parts())["$defs"]
    return definitions


def _schema_below(schema: dict[str, Any], field: Field) -> dict[str, Any] | None:
    for key in field:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        # An open object, such as a method's parameters, may have any key.
        if key not in properties and (others is False or schema.get("type") == "null"):
            return None
        schema = properties.get(key, others)
    return schema
