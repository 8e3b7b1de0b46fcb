"""Jobs: videos, each with its questions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError
from dycoke_cli.video.pictures import pictures_of
from dycoke_cli.video.rendered import Rendered

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.engine.typed_options import TypedOptions
    from dycoke_cli.guard.ladder import Guard
    from dycoke_cli.video import Sampling
    from dycoke_cli.video.subtitles import SubtitleSource


@dataclass(frozen=True)
class JobQuestion:
    """A question.

    Args:
        id: as the user gave it, or None.
        text: plain text.
        history: earlier questions about the video with their answers, for a follow-up question.
        method: by which it is asked; None is that of the plan.
        guard: likewise.
        typed: options that the answer is one of; None is those of the plan, if it has any.
    """

    id: str | None
    text: str
    history: tuple[tuple[str, str], ...] = ()
    method: Method | None = None
    guard: Guard | None = None
    typed: TypedOptions | None = None


@dataclass(frozen=True)
class Video:
    """A video file or a folder of pictures, which may not be there, or a rendered video.

    Args:
        path: the path that is opened.
        shown: the path as the user gave it.
        name: its path relative to the root of the run, which identifies it among the others.
        rendered: read in place of `path`; None for a file or folder.
    """

    path: str
    shown: str
    name: str
    rendered: Rendered | None = None

    @property
    def source(self) -> str | Rendered:
        """What is read."""
        return self.path if self.rendered is None else self.rendered


@dataclass(frozen=True)
class Job:
    """A video with its questions.

    Args:
        video: the file.
        questions: each once.
        digest: hash of the file's content; None if unknown, or if the file can't be read.
        sampling: which frames are read; None is that of the plan.
        blind: the questions are asked without the video, which isn't read.
        subtitles: that come with the frames.
    """

    video: Video
    questions: tuple[JobQuestion, ...]
    digest: str | None = None
    sampling: Sampling | None = None
    blind: bool = False
    subtitles: SubtitleSource | None = None


def digest_of(path: str) -> str | None:
    """SHA-256 of a file, or of a folder's pictures; None if it can't be read."""
    if os.path.isdir(path):
        return _digest_of_pictures(path)
    if not os.path.isfile(path):  # reading a pipe could block forever
        return None
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _digest_of_pictures(folder: str) -> str | None:
    try:
        pictures = pictures_of(folder)
    except UsageError:  # raised again when the decoder opens it, and reported then
        return None
    if pictures is None:
        return None
    each = [(os.path.basename(path), digest_of(path)) for path in pictures.paths]
    return hashlib.sha256(repr(each).encode("utf-8", "surrogateescape")).hexdigest()
