"""Hash of a video's content, which identifies it in the key of an answer."""

from __future__ import annotations

import hashlib
import os

from dycoke_cli.errors import UsageError
from dycoke_cli.video.pictures import pictures_of


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
