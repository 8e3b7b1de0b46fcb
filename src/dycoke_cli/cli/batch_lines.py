"""The lines of a batch on stdout: whole objects, parts of them, or rows of a table."""

from __future__ import annotations

from dycoke_cli.cli import columns, output
from dycoke_cli.runs.outcome import Outcome


class Lines:
    """Results that go to stdout; what was written there before isn't known.

    Args:
        fields: of `--fields`, or None.
        as_csv: rows in place of objects.

    Raises:
        UsageError: a field that no answer has.
    """

    def __init__(self, fields: str | None, as_csv: bool) -> None:
        given = columns.CSV_FIELDS if as_csv and fields is None else fields
        self._fields = None if given is None else columns.parse_fields(given)
        self._as_csv = as_csv
        self._begun = False

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
            output.write_json(columns.chosen(outcome.line, self._fields))
            return
        if not self._begun:
            output.write(columns.header(self._fields))
            self._begun = True
        output.write(columns.row(outcome.line, self._fields))
