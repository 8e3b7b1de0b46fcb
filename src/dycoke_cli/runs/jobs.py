"""What is to be answered: videos, each with its questions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """A question.

    Args:
        id: as it was given, or None.
        text: plain text.
    """

    id: str | None
    text: str


@dataclass(frozen=True)
class Video:
    """A video file, which may not be there.

    Args:
        path: where it is opened.
        shown: as it was given.
        name: its path relative to the root of the run, which tells it from the others.
    """

    path: str
    shown: str
    name: str


@dataclass(frozen=True)
class Job:
    """A video with its questions.

    Args:
        video: the file.
        questions: each once.
        digest: of the file's content; None where it isn't known, or the file can't be read.
    """

    video: Video
    questions: tuple[Asked, ...]
    digest: str | None = None


def digest_of(path: str) -> str | None:
    """The digest of a file's content; None where it can't be read."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
