"""The cache folder: files that can be made again, in the user's cache."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dycoke_cli.errors import OutputError, UsageError

ENVIRONMENT = "DYCOKE_CACHE"
"""Names the folder in place of the one in the user's cache."""


def cache_folder() -> Path:
    """The folder (it need not exist)."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "dycoke"


def make_folder(folder: Path) -> None:
    """Make a folder of the cache and what it lies in, shut to others whatever the umask.

    Raises:
        OSError: it can't be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


LIMIT = "DYCOKE_CACHE_GB"
"""Names the environment variable with the most that encoded videos may take, in gigabytes."""
DEFAULT_LIMIT_GB = 10.0


class CacheFiles:
    """Files of one kind in a folder; the least recently used are evicted when there is no room.

    Args:
        folder: need not exist.
        suffix: of their names.
        limit: bytes.
    """

    def __init__(self, folder: Path, suffix: str, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._suffix = suffix

    def make_private(self) -> None:
        """Make the folder where it isn't there, and shut it to all others.

        What is kept there becomes part of answers: nobody else may write it, and what was in a
        video is nobody else's business.

        Raises:
            OutputError: it belongs to somebody else, or can't be made.
        """
        try:
            make_folder(self.folder)
            found = self.folder.stat()
            if is_of_another_user(found):
                raise OutputError(
                    f"{self.folder} belongs to another user, who could change what is kept there; "
                    f"set {ENVIRONMENT} to a folder of your own, or leave out --cache"
                )
            if stat.S_IMODE(found.st_mode) & 0o077:
                self.folder.chmod(0o700)
        except OSError as error:
            raise OutputError(unwritable(self.folder, error)) from error

    def path(self, key: str) -> Path:
        """Where the file with a key is, or would be."""
        return self.folder / (key + self._suffix)

    def listed(self) -> list[Path]:
        """All that is there, what was used longest ago first."""
        found = sorted((known.st_mtime, path) for path, known in self._all())
        return [path for _, path in found]

    @property
    def nbytes(self) -> int:
        """Of all of them."""
        return sum(known.st_size for _, known in self._all())

    def clear(self) -> int:
        """Delete everything; how many files there were."""
        files = self.listed()
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def trim(self) -> None:
        """Make room; the newest file stays even where it alone is too much."""
        files, held = self.listed(), self.nbytes
        while held > self.limit and len(files) > 1:
            oldest = files.pop(0)
            # Another run may be trimming, too.
            with contextlib.suppress(FileNotFoundError):
                held -= oldest.stat().st_size
                oldest.unlink()

    def _all(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob(f"*{self._suffix}"):
            # Another run may delete it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()


def write_whole(file: Path, text: str) -> None:
    """Put a file of the cache in place of what is there, whole or not at all.

    Raises:
        OSError: it can't be written; what is there is as it was.
    """
    make_folder(file.parent)
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        os.replace(name, file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def is_of_another_user(found: os.stat_result) -> bool:
    """Whether a file or folder belongs to somebody else. Windows doesn't say: False there."""
    return hasattr(os, "geteuid") and found.st_uid != os.geteuid()


def unwritable(folder: Path, error: Exception) -> str:
    """The sentence about a folder in which nothing can be kept."""
    return f"{folder} can't be written ({error}); free some space, or leave out --cache"


def encoded_videos() -> CacheFiles:
    """The files of encoded videos (`--cache`).

    Raises:
        UsageError: the environment's limit isn't a number.
    """
    named = os.environ.get(LIMIT)
    try:
        gigabytes = DEFAULT_LIMIT_GB if named is None else float(named)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise UsageError(f"{LIMIT} must be a number of gigabytes above 0, not {named!r}")
    return CacheFiles(cache_folder() / "visual", ".safetensors", int(gigabytes * 1e9))
