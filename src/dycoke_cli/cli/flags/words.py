"""The words of a command line that are no flags: which are videos, and which are the question."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Sequence
from itertools import takewhile

from dycoke_cli.errors import UsageError
from dycoke_cli.video.pictures import is_picture, is_video
from dycoke_cli.video.stdin import STDIN

_BARE = re.compile(r"[\w@%+=:,./-]+")
_EXPANDED = re.compile(r'["$`\\!]')


def apart(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The videos and the question.

    A question in quotes may stand anywhere. Without quotes it is all words behind the videos, or
    all before the one video. What is the name of a file is no question.

    Args:
        words: one or more, as they were given; what is named may be missing.

    Raises:
        UsageError: several questions, or one that can't be told from the videos.
    """
    texts = _in_quotes(words)
    if len(texts) > 1:
        raise UsageError(
            f"ask several questions with -q: {' '.join(f'-q {quoted(text)}' for text in texts)}"
        )
    if texts:
        return [word for word in words if word not in texts], texts[0]
    known = words[0] == STDIN or _is_place(words[0])
    videos = [words[0], *takewhile(_is_place, words[1:])]
    asked = [*words[len(videos) :]]
    *before, last = words
    if not known and _is_place(last) and (len(before) > 1 or before[0].endswith("?")):
        known, videos, asked = True, [last], before
    unclear = asked if known else words[1:]
    if asked and any(os.path.isfile(word) or has_suffix(word) for word in unclear):
        raise UsageError(
            f"the question can't be told from the videos in {' '.join(words)}: put it in quotes"
        )
    return videos, " ".join(asked) if asked else None


def _in_quotes(words: Sequence[str]) -> list[str]:
    """The texts that only quotes make one word, where they aren't names of files."""
    texts = [word for word in words if any(map(str.isspace, word)) and not _exists(word)]
    # A name may be misspelt: it is the first word, or another text can be the question.
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
    """Whether a word is a pattern that files match."""
    return glob.has_magic(word) and any(glob.iglob(word, recursive=True))


def has_suffix(word: str) -> bool:
    """Whether a word ends as the names of videos and pictures do."""
    return is_video(word) or is_picture(word)


def quoted(word: str) -> str:
    """A word as it is typed: in quotes where it needs them."""
    if _BARE.fullmatch(word) and not word.startswith("-"):
        return word
    return shlex.quote(word) if _EXPANDED.search(word) else f'"{word}"'
