"""Cache folder of regenerable files, below the user's cache directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from pathlib import Path

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.output_file import is_of_another_user, remove_left, replace_content

ENVIRONMENT = "DYCOKE_CACHE"
"""Environment variable that replaces the default folder."""


def cache_folder() -> Path:
    """Path of the cache folder (it need not exist)."""
    override = os.environ.get(ENVIRONMENT)
    if override:
        return Path(override)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "dycoke"


KEPT = {
    "visual": "encoded videos (--cache)",
    "transcripts": "what was heard in videos (--subtitles speech)",
    "evaluation": "answers of eval, from which it resumes",
    "shapes": "rendered clips of bundled benchmarks",
    "estimates": "sizes of estimated models, and rates of matrix products",
    "fingerprints": "hashes of model folders",
    "tokenizers": "hashes of tokenizers that passed their trial",
    "made": "hashes of written files and captions, by which edited ones are known",
    "chat_history": "questions of chat",
}
"""All that is kept in the cache folder, by its name there."""


def kept(name: str) -> Path:
    """Path of what is kept under a name of `KEPT` (it need not exist)."""
    assert name in KEPT, name
    return cache_folder() / name


def files_of(name: str) -> list[os.stat_result]:
    """The files that are kept under a name."""
    path, found = kept(name), []
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):  # another run may delete it
            if stat.S_ISREG((status := each.lstat()).st_mode):
                found.append(status)
    return found


def clear(name: str) -> int:
    """Delete what is kept under a name; returns the number of files."""
    count, path = len(files_of(name)), kept(name)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return count


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700, whatever the umask."""
    # `mkdir(parents=True)` would give the parents the mode of the umask.
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


_MOST_VISUAL_BYTES = 10**10


class CacheFiles:
    """LRU cache of files with one suffix in a folder.

    Args:
        limit: total size in bytes.
    """

    def __init__(self, folder: Path, suffix: str, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._suffix = suffix

    def make_private(self) -> None:
        """Create the folder if it is missing, and restrict it to this user.

        Cached features become part of answers, so no other user may write them. They also reveal
        the videos, so no other user may read them.
        """
        try:
            make_folder(self.folder)
            status = self.folder.stat()
            if is_of_another_user(status):
                raise OutputError(
                    f"{self.folder} belongs to another user, who could change what is kept there; "
                    f"set {ENVIRONMENT} to a folder of your own"
                )
            if stat.S_IMODE(status.st_mode) & 0o077:
                self.folder.chmod(0o700)
        except OSError as error:
            raise OutputError(unwritable(self.folder, error)) from error

    def path(self, key: str) -> Path:
        """Path of the file with a key (it need not exist)."""
        return self.folder / (key + self._suffix)

    def note_use(self, path: Path) -> None:
        """Make a file the most recently used one, also if the clock was set back since others."""
        newest = max((status.st_mtime_ns for status, _ in self._by_age()), default=0)
        now = max(time.time_ns(), newest + 1)
        with contextlib.suppress(OSError):
            os.utime(path, ns=(now, now))

    def trim(self) -> None:
        """Evict files until the limit holds; the newest stays even if it alone exceeds it."""
        remove_left(self.folder)
        files = self._by_age()
        total = sum(status.st_size for status, _ in files)
        for status, path in files[:-1]:
            if total > self.limit:
                path.unlink(missing_ok=True)  # another run may be trimming at the same time
                total -= status.st_size

    def _by_age(self) -> list[tuple[os.stat_result, Path]]:
        found = []
        for path in self.folder.glob(f"*{self._suffix}"):
            # Another run may delete it between the listing and the stat.
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat(), path))
        return sorted(found, key=lambda one: (one[0].st_mtime_ns, one[1]))


def write_whole(file: Path, text: str) -> None:
    """Write or replace a file of the cache atomically; it is readable by this user alone."""
    make_folder(file.parent)
    replace_content(file, text.encode(), 0o600)


def unwritable(folder: Path, error: Exception) -> str:
    """Error message for a cache folder that can't be written."""
    return f"{folder} can't be written ({error}); free some space, or set {ENVIRONMENT} to another"


def encoded_videos() -> CacheFiles:
    """Cache of encoded videos (`--cache`)."""
    return CacheFiles(kept("visual"), ".safetensors", _MOST_VISUAL_BYTES)
