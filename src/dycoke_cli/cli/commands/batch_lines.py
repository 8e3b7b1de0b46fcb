"""What `dycoke batch` reads, the questions of its arguments; and where it writes the results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dycoke_cli.answer.answer import SCHEMA, answer_parts
from dycoke_cli.answer.json_schema import schema_of
from dycoke_cli.ask import Ask, Footage
from dycoke_cli.cli import output
from dycoke_cli.cli.flags.words import apart, questions_of
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.features import BATCH, refusal
from dycoke_cli.request import Request
from dycoke_cli.runs.discovery import VideoList, find, find_several, listed
from dycoke_cli.runs.question_files import read_questions
from dycoke_cli.runs.results import SUFFIXES, Outcome, check_place, lines_of
from dycoke_cli.runs.tables import (
    ERRORS,
    TABLES,
    TEXT_FIELDS,
    Field,
    TableFile,
    fields_of,
    header,
    object_fields,
    row,
    typed_fields,
    value_of,
    with_more,
    with_parts,
)
from dycoke_cli.runs.time_files import FORMATS, TimeFiles
from dycoke_cli.storage.input_file import read_file
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import STDIN, advice_on_address

if TYPE_CHECKING:
    from dycoke_cli.cli.render.batch_view import BatchView
    from dycoke_cli.runs.listener import RunCounts

_NOTHING = (
    'no videos: `dycoke batch FOLDER "QUESTION"`; or videos, a pattern or a list in place of the '
    "folder; or --questions FILE"
)


@dataclass(frozen=True)
class BatchInput:
    """Questions of a batch, those about one video together, and notes about what was skipped or
    supposed.
    """

    groups: list[tuple[Ask, ...]]
    notes: tuple[str, ...] = ()


def collect(
    words: Sequence[str], more: list[str] | None, file: str | None, request: Request
) -> BatchInput:
    """Build the questions from the arguments."""
    videos, question = apart(words) if words else ([], None)
    if file is not None:
        if question is not None or more:
            raise UsageError("--questions has all questions; leave out QUESTION and -q")
        if len(videos) > 1:
            raise UsageError("with --questions, VIDEOS is one folder, which its videos are in")
        notes: list[str] = []
        groups = _of_file(file, videos[0] if videos else None, request, notes.append)
        return BatchInput(groups, tuple(notes))
    if not videos:
        raise UsageError(_NOTHING)
    if question is None and not more:
        raise UsageError(
            'no question: put one behind the videos, as in `dycoke batch FOLDER "…"`, or after -q'
        )
    texts = questions_of(question, more, videos[0])
    # Without duplicates, which would have the same key in the results.
    texts = [*dict.fromkeys(texts)]
    files = videos_at(videos)
    groups = [tuple(Ask(text, request, (video,)) for text in texts) for video in files.videos]
    return BatchInput(groups, files.notes)


def videos_at(places: Sequence[str], *, stills: bool = False) -> VideoList:
    """The videos of folders, patterns and lists, `STDIN` among them; with pictures, if wanted."""
    if STDIN in places and len(places) > 1:
        raise UsageError("- reads the list of videos from stdin: leave out the others")
    if len(places) > 1:
        return find_several(places, stills=stills)
    if places == [STDIN]:
        if b"\0" in (content := _stdin()):
            raise refusal("stdin", BATCH)
        return VideoList(listed(content, "", "stdin"))
    return find(*places, stills=stills)


def _of_file(
    file: str, videos: str | None, request: Request, note: Callable[[str], None]
) -> list[tuple[Ask, ...]]:
    if videos is not None and not os.path.isdir(videos):
        raise UsageError(
            f"with --questions, VIDEOS is the folder that its videos are in, and "
            f"{display_name(videos)} isn't a folder"
        )
    if file == STDIN:
        return read_questions(_stdin(), videos or "", "stdin", request, note)
    name = f"--questions {display_name(file)}"
    try:
        content = read_file(file)
    except OSError as error:
        if (advice := advice_on_address(file)) is not None:
            raise UsageError(f"{name} {advice}") from error
        raise UsageError(f"{name} can't be read ({error.strerror})") from error
    folder = os.path.dirname(file) if videos is None else videos
    return read_questions(content, folder, name, request, note)


def _stdin() -> bytes:
    if sys.stdin is None:
        raise UsageError("stdin is closed; - has nothing to read")
    return sys.stdin.buffer.read()


_FREE = GenerationOptions()


class Destination:
    """Where answers go: to a journal, of which a table or times are made at the end; or to stdout.

    Attributes:
        journal: file of the answers in JSON Lines; None for stdout.
    """

    def __init__(
        self, out: Path | None, out_dir: Path | None, fields: str | None, *, as_csv: bool
    ) -> None:
        self._as_csv = as_csv
        self._columns = None if fields is None else parse_fields(fields)
        self._times = TimeFiles.at(out, out_dir)
        self._table = TableFile.at(out, self._columns) if self._times is None else None
        if out is not None and self._table is None and (as_csv or fields is not None):
            raise UsageError(
                "--fields and --csv are for stdout and for tables: JSON Lines keep whole lines; "
                f"--out {display_name(str(out.with_suffix('.csv')))} is a table"
            )
        if self._table is not None:
            self._table.check("--out")
        made = self._times or self._table
        self.journal = out if made is None else made.journal
        if self.journal is not None and out_dir is None:  # a folder is made once all is checked
            check_place(self.journal, (*SUFFIXES, *TABLES, *FORMATS))

    def check(self, videos: Sequence[Footage], request: Request, *, has_times: bool) -> None:
        """Check that times can be written, where they are; makes their folder.

        Args:
            has_times: whether the answers are about parts, or are times.
        """
        self._videos, self._how = videos, (request.sampling, request.limits)
        if self._times is None:
            return
        if not has_times:
            raise self._times.refusal()
        self._times.check(videos, *self._how, resumes=True)
        self._times.make_folder()

    def stdout(
        self, generation: GenerationOptions, parts: bool, times: bool, clear: Callable[[], None]
    ) -> Lines:
        """Lines on stdout. Args: as of these."""
        return Lines(self._columns, self._as_csv, generation, parts=parts, times=times, clear=clear)

    def conclude(self, counts: RunCounts, view: BatchView, *, retried: bool = False) -> None:
        """Say how a run ended, and make what is made of its answers. Exit code 1: some failed."""
        view.finished(counts, self.journal, retried=retried)
        if self.journal is not None and (self._table or self._times):
            lines = lines_of(self.journal, counts.given)
            if self._table is not None:
                view.note(self._table.write(lines))
            if self._times is not None:
                view.note(self._times.write(self._videos, lines, *self._how))
        if counts.standing:
            raise typer.Exit(1)


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
        if not any(_has(schema, field) for schema in _kinds_of_answers().values()):
            raise UsageError(
                f"--fields: an answer has no key {'.'.join(field)!r}; `dycoke schema answer` has "
                "them all"
            )
    return fields


def table_fields(generation: GenerationOptions, *, times: bool = False) -> list[Field]:
    """Key paths of the CSV columns of answers.

    Of typed ones the choice, and a column for each option; of objects one for each field.
    """
    typed, structured = generation.typed, generation.structured
    if typed is not None:
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


@cache
def _kinds_of_answers() -> dict[str, Any]:
    """JSON Schemas of all kinds of answers."""
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
