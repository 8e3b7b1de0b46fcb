"""Questions of a command line: from the argument, from -q and from stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import is_valid, valid
from dycoke_cli.video.files import STDIN


def collect(argument: str | None, options: list[str] | None, *videos: str) -> list[str]:
    """Collect all questions, in the order given."""
    given = [*([] if argument is None else [argument]), *(options or [])]
    if not given:
        raise UsageError('no question: put one behind the video, as in `dycoke ask VIDEO "…"`')
    if given.count(STDIN) + videos.count(STDIN) > 1:
        raise UsageError("stdin can be read for one thing only: the video, or -q - once")
    questions: list[str] = []
    for text in given:
        questions += _lines_of_stdin() if text == STDIN else [text.strip()]
    if "" in questions:
        raise UsageError("a question is empty")
    # Bytes of an argument that aren't UTF-8 would reach the tokenizer as lone surrogates.
    for text in questions:
        if not is_valid(text):
            raise UsageError(f"the question '{valid(text)}' isn't UTF-8 text; convert it to UTF-8")
    return questions


def _lines_of_stdin() -> list[str]:
    questions = list(_decoded_lines())
    if not questions:
        raise UsageError("no question came from stdin; -q - reads one per line")
    return questions


def _decoded_lines() -> Iterator[str]:
    if sys.stdin is None:
        raise UsageError("stdin is closed; -q - has nothing to read")
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("the questions on stdin aren't UTF-8 text") from error
    for line in text.splitlines():
        if line.strip():
            yield line.strip()
