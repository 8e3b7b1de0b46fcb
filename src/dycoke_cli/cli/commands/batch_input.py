"""Questions of `dycoke batch` from its arguments: folders, patterns, lists and question files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.cli.flags import question_input
from dycoke_cli.cli.flags.words import apart
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.features import BATCH, refusal
from dycoke_cli.request import Request
from dycoke_cli.runs.discovery import VideoList, find, find_several, listed
from dycoke_cli.runs.question_files import read_questions
from dycoke_cli.storage.input_file import read_file
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import STDIN, advice_on_address

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
    texts = question_input.collect(question, more, videos[0])
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
        return VideoList(_listed_on_stdin())
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


def _listed_on_stdin() -> list[Footage]:
    content = _stdin()
    if b"\0" in content:
        raise refusal("stdin", BATCH)
    return listed(content, "", "stdin")


def _stdin() -> bytes:
    if sys.stdin is None:
        raise UsageError("stdin is closed; - has nothing to read")
    return sys.stdin.buffer.read()
