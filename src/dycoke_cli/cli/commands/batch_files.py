"""What `dycoke batch` reads, the questions of its arguments; and where it writes the results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.cli import output
from dycoke_cli.cli.flags.arguments import apart, questions_of, quoted
from dycoke_cli.cli.render.units import counted
from dycoke_cli.errors import UsageError
from dycoke_cli.request import Request
from dycoke_cli.runs.batch_journal import Outcome, check_place
from dycoke_cli.runs.discovery import VideoList, find, find_several, listed
from dycoke_cli.runs.output_formats import made_at
from dycoke_cli.runs.question_files import read_questions
from dycoke_cli.runs.tables import TableFile, current, read_answers
from dycoke_cli.runs.time_files import TimeFiles
from dycoke_cli.storage.input_file import read_file
from dycoke_cli.storage.output_file import short_name
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import STDIN, advice_on_address, open_stdin
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from dycoke_cli.cli.render.batch_view import BatchView
    from dycoke_cli.runs.listener import RunCounts

_NOTHING = (
    'no videos: `dycoke batch FOLDER "QUESTION"`; or videos, a pattern or a list in place of the '
    "folder; or --questions FILE"
)


def collect(
    words: Sequence[str], more: list[str] | None, file: str | None, request: Request
) -> tuple[list[tuple[Ask, ...]], Sequence[str]]:
    """The questions of the arguments, those about one video together.

    And notes about what was skipped or supposed.
    """
    videos, question = apart(words) if words else ([], None)
    if file is not None:
        if question is not None:
            raise UsageError("--questions has all questions; leave out QUESTION")
        if len(videos) > 1:
            raise UsageError("with --questions, VIDEOS is one folder, which its videos are in")
        notes: list[str] = []
        groups = _of_file(file, videos[0] if videos else None, request, notes.append)
        return groups, notes
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
    return groups, files.notes


def videos_at(places: Sequence[str], *, stills: bool = False) -> VideoList:
    """The videos of folders, patterns and lists, `STDIN` among them; with pictures, if wanted."""
    if STDIN in places and len(places) > 1:
        raise UsageError("- reads the list of videos from stdin: leave out the others")
    if len(places) > 1:
        return find_several(places, stills=stills)
    if places == [STDIN]:
        if b"\0" in (content := open_stdin("- has nothing to read").read()):
            raise UsageError(
                "the list of videos is read from stdin, one path per line; save the video to a "
                "file, and name that"
            )
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
        return read_questions(
            open_stdin("- has nothing to read").read(), videos or "", "stdin", request, note
        )
    name = f"--questions {display_name(file)}"
    try:
        content = read_file(file)
    except OSError as error:
        if (advice := advice_on_address(file)) is not None:
            raise UsageError(f"{name} {advice}") from error
        hint = "; a question stands behind -q" if " " in file else ""
        hint = "; name a file in it" if os.path.isdir(file) else hint
        raise UsageError(f"{name} can't be read ({error.strerror}){hint}") from error
    folder = os.path.dirname(file) if videos is None else videos
    return read_questions(content, folder, name, request, note)


class Destination:
    """Where answers go: to a journal, of which a table or times are made at the end; or to stdout.

    Attributes:
        journal: file of the answers in JSON Lines; None for stdout.
    """

    def __init__(self, out: Path | None, out_dir: Path | None) -> None:
        self._made = made_at(out, out_dir, "--out")
        if isinstance(self._made, TableFile):
            self._made.check()
        self.journal = out if self._made is None else self._made.journal
        if self.journal is not None and out_dir is None:  # a folder is made once all is checked
            check_place(self.journal)

    def check(self, videos: Sequence[Footage], request: Request, *, has_times: bool) -> None:
        """Check that times can be written, where they are; makes their folder.

        Args:
            has_times: whether the answers are about parts, or are times.
        """
        self._videos, self._how = videos, (request.sampling, request.limits)
        if isinstance(self._made, TimeFiles):
            if not has_times:
                raise self._made.refusal()
            self._made.check(videos, resumes=True)
            self._made.make_folder()

    def conclude(self, counts: RunCounts, view: BatchView, *, retried: bool = False) -> None:
        """Say how a run ended, and make what is made of its answers. Exit code 1: some failed."""
        view.finished(counts, self.journal, retried=retried)
        if self.journal is not None:
            lines_of = {line["key"]: line for line in read_answers(self.journal)}
            lines = [lines_of[key] for key in counts.given if key in lines_of]
            if others := {line["key"] for line in current([*lines_of.values()])} - {*counts.keys}:
                name = quoted(short_name(self.journal))
                suffix = self._made.suffix if isinstance(self._made, TimeFiles) else ".csv"
                view.note(
                    f"{counted(len(others), 'other answer')}, by other questions or settings, "
                    f"only in {name}: `dycoke convert {name} FILE{suffix}` has all"
                )
            if isinstance(self._made, TableFile):
                view.note(self._made.write(lines))
            elif self._made is not None:
                view.note(self._made.write(self._videos, lines, *self._how))
        if counts.standing:
            raise typer.Exit(1)


class Lines:
    """Receiver of outcomes that writes them to stdout; it can't resume an earlier run.

    A person at a terminal gets a line of text, and other programs get JSON.

    Args:
        clear: removes the progress display from the terminal that a line is written to.
    """

    def __init__(self, clear: Callable[[], None]) -> None:
        self._clear = clear

    def known(self, key: str) -> None:
        """None: earlier output isn't readable."""

    def add(self, outcome: Outcome) -> None:
        """Write a line. The view tells of failures."""
        if not sys.stdout.isatty():
            output.write_json(outcome.line)
        elif not outcome.failed:
            self._clear()
            line = outcome.line
            part = f" {format_part(line['start'], line['end'])}" if "start" in line else ""
            output.line(f"{line['video']}{part}: {line['question']} {line['answer']}")
