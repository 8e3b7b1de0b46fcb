"""Where files are kept that can be made again: a folder of its own in the user's cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dycoke_cli.errors import UsageError

ENVIRONMENT = "DYCOKE_CACHE"
"""Names the folder in place of the one in the user's cache."""


def cache_folder() -> Path:
    """The folder (it need not exist)."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "dycoke"


LIMIT = "DYCOKE_CACHE_GB"
"""Names the environment variable with the most that encoded videos may take, in gigabytes."""
DEFAULT_LIMIT_GB = 10.0


class CacheFiles:
    """Files of one kind in a folder; those that were used longest ago go when there is no room.

    Args:
        folder: need not exist.
        suffix: of their names.
        limit: bytes.
    """

    def __init__(self, folder: Path, suffix: str, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._suffix = suffix

    def path(self, key: str) -> Path:
        """Where the file with a key is, or would be."""
        return self.folder / (key + self._suffix)

    def listed(self) -> list[Path]:
        """All that is there, what was used longest ago first."""
        found = sorted((path.stat().st_mtime, path) for path in self._all())
        return [path for _, path in found]

    @property
    def nbytes(self) -> int:
        """Of all of them."""
        return sum(path.stat().st_size for path in self._all())

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

    def _all(self) -> Iterator[Path]:
        return self.folder.glob(f"*{self._suffix}")


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
