"""Positional arguments and -q as videos and questions."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Sequence
from itertools import takewhile

from dycoke_cli.errors import UsageError
from dycoke_cli.runs.file_walk import matches
from dycoke_cli.unicode import is_valid, valid
from dycoke_cli.video.files import STDIN, is_picture, is_video, open_stdin

_BARE = re.compile(r"[\w@%+=:,./-]+")
_NUMBER = re.compile(r"(^|\s)\d+\.\d+$")
_MOST_WORDS = 12  # of a file name that is split
_EXPANDED = re.compile(r'["$`\\!]')


def apart(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Split positional arguments into videos and the question.

    A quoted question may be anywhere. An unquoted one is all words after the videos, or all words
    before a single video. A file name is never a question.
    """
    if (name := _split_name(words)) is not None:
        raise UsageError(f"{name} has spaces in its name: put it in quotes, as in {quoted(name)}")
    texts = _in_quotes(words)
    if len(texts) > 1:
        raise UsageError(
            f"ask several questions with -q: {' '.join(f'-q {quoted(text)}' for text in texts)}"
        )
    if texts:
        places = [word for word in words if word not in texts]
        behind = words[words.index(texts[0]) + 1 :]
        if 1 < len(behind) < len(places) and not any(map(_is_place, behind)):
            raise UsageError(
                f"put the whole question in quotes: -q {quoted(' '.join([*texts, *behind]))}"
            )
        return places, texts[0]
    video_first = words[0] == STDIN or _is_place(words[0])
    videos = [words[0], *takewhile(_is_place, words[1:])]
    question = [*words[len(videos) :]]
    *before, last = words
    # A single word before the video is more likely a misspelt file than a question.
    if not video_first and _is_place(last) and (len(before) > 1 or before[0].endswith("?")):
        video_first, videos, question = True, [last], before
    unclear = question if video_first else words[1:]
    if question and any(os.path.isfile(word) or has_suffix(word) for word in unclear):
        raise UsageError(
            f"the question can't be told from the videos in {' '.join(words)}: put it in quotes"
        )
    return videos, " ".join(question) if question else None


def _split_name(words: Sequence[str]) -> str | None:
    """An existing file whose name a shell has split at its spaces; None without one."""
    for start, word in enumerate(words):
        if _exists(word):  # as most do where a shell has listed a folder
            continue
        for stop in range(start + 2, min(len(words), start + _MOST_WORDS) + 1):
            name = " ".join(words[start:stop])
            if os.path.lexists(name):
                return name
    return None


def _in_quotes(words: Sequence[str]) -> list[str]:
    """Arguments with white space, which must have been quoted, unless they name a file."""
    texts = [word for word in words if any(map(str.isspace, word)) and not _exists(word)]
    # A text with a video suffix is a misspelt file name if another text can be the question, or if
    # it is the first word.
    texts = [text for text in texts if not has_suffix(text)] or [
        text for text in texts if text != words[0]
    ]
    others = [word for word in words if word not in texts]
    if len(words) > 1 and not any(word == STDIN or _is_place(word) for word in others):
        texts = [text for text in texts if text != words[0]]
    return texts


def _is_place(word: str) -> bool:
    return _exists(word) or has_suffix(word) or "://" in word


def _exists(word: str) -> bool:
    return os.path.lexists(word) or is_pattern(word)


def is_pattern(word: str) -> bool:
    """Whether a word is a glob pattern with matching files."""
    return glob.has_magic(word) and any(matches(word))


def has_suffix(word: str) -> bool:
    """Whether a word has the suffix of a video or image; the number 3.264 has none."""
    return (is_video(word) or is_picture(word)) and not _NUMBER.search(word)


def quoted(word: str) -> str:
    """Quote a word for a shell if necessary."""
    if _BARE.fullmatch(word) and not word.startswith("-"):
        return word
    return shlex.quote(word) if _EXPANDED.search(word) else f'"{word}"'


def questions_of(argument: str | None, options: list[str] | None, *videos: str) -> list[str]:
    """Collect all questions, in the order given."""
    given = [*([] if argument is None else [argument]), *(options or [])]
    if not given:
        raise UsageError('no question: put one behind the video, as in `dycoke ask VIDEO "…"`')
    if given.count(STDIN) + videos.count(STDIN) > 1:
        raise UsageError("stdin can be read for one thing only: the video, or -q - once")
    questions: list[str] = []
    for text in given:
        questions += _lines_of_stdin() if text == STDIN else [text.strip()]
        if "." in text and os.path.isfile(text):
            is_table = text.lower().endswith((".csv", ".json", ".jsonl", ".ndjson"))
            command = "batch VIDEO --questions" if is_table else "ask VIDEO -q - <"
            raise UsageError(
                f"{text} is a file, not a question: `dycoke {command} {quoted(text)}` asks what "
                "stands in it"
            )
    if "" in questions:
        raise UsageError("a question is empty")
    # Bytes of an argument that aren't UTF-8 would reach the tokenizer as lone surrogates.
    for text in questions:
        if not is_valid(text):
            raise UsageError(f"the question '{valid(text)}' isn't UTF-8 text; convert it to UTF-8")
    return questions


def _lines_of_stdin() -> list[str]:
    try:
        text = open_stdin("-q - has nothing to read").read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("the questions on stdin aren't UTF-8 text") from error
    if not (questions := [line.strip() for line in text.splitlines() if line.strip()]):
        raise UsageError("no question came from stdin; -q - reads one per line")
    return questions
