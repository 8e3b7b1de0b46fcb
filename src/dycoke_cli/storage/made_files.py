"""Files that commands make: captions, tables, times, reports, pages and pictures.

What somebody has changed since is never replaced, and what nobody has changed is no input that a
later run finds by itself. Both are known by hashes in the cache folder, kept before a file is
written. The store only grows, by a line for each content of a file.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import kept, make_folder
from dycoke_cli.storage.input_file import read_file
from dycoke_cli.storage.output_file import open_own, short_name, temporary_file, unwritable


class MadeFiles:
    """What was written up to the first question about it."""

    def __init__(self) -> None:
        # Hashes of contents and of how they were made, by the hash of the file's name.
        self._known = defaultdict[bytes, set[tuple[bytes, bytes]]](set)
        self._read = set[Path]()

    def ways(self, path: str | Path, content: bytes | str | None) -> set[bytes]:
        """Hashes of how a content was made; empty for none, and for what wasn't written."""
        known, hashed = self._about(path), hash_of(content or b"")
        return {way for found, way in known if content and found == hashed}

    def is_own(self, path: str | Path) -> bool:
        """Whether a file is as a command wrote it, in whatever folder it is by now."""
        if self._about(path):  # of most nothing is known, and they are never hashed
            with suppress(OSError):
                return bool(self.ways(path, read_file(path)))
        return False

    def _about(self, path: str | Path) -> set[tuple[bytes, bytes]]:
        """What is known of files of this name."""
        name = _name(path)
        if (file := _file(name)) not in self._read:
            self._read.add(file)
            with suppress(OSError):
                for line in read_file(file).split(b"\n"):
                    if len(words := line.split(b" ")) == 3:
                        self._known[words[0]].add((words[1], words[2]))
        return self._known[name]


def note(path: str | Path, content: bytes | str, way: str = "") -> None:
    """Keep the hash of a content before it is written.

    Args:
        way: how it is made.
    """
    name = _name(path)
    line = b" ".join((name, hash_of(content), hash_of(way)))
    # Where the folder can't be written, the file counts as changed later, and is kept.
    with suppress(OSError):
        file = _file(name)
        make_folder(file.parent)
        with open(open_own(file), "wb", buffering=0) as opened:
            # The line end in front parts it from one that a power failure cut off.
            opened.write(b"\n%s\n" % line)


def check_replaceable(path: Path, *, resumes: bool = True) -> None:
    """Refuse a file that is there, unless an earlier run made it and nobody has changed it since.

    Args:
        resumes: whether the file may be that of an earlier run.
    """
    if path.exists() and not (resumes and MadeFiles().is_own(path)):
        raise OutputError(
            f"{short_name(path)} exists, or was changed since it was written, and stays as it is; "
            "name another file, or delete it"
        )


def write_made(
    path: Path,
    content: bytes,
    flag: str = "--out",
    is_ours: Callable[[bytes], bool] | None = None,
) -> bool:
    """Write a file; after a crash it is the earlier or the new one.

    A run takes hours, in which people and other runs write files: a check before it isn't enough.

    Args:
        is_ours: whether the file with some content may be replaced; None for what was written here.

    Returns:
        Whether it is written; else the file that is there by now stays.
    """
    note(path, content)
    is_ours = is_ours or (lambda there: bool(MadeFiles().ways(path, there)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path, 0o666) as temporary:
            temporary.write_bytes(content)
            with suppress(OSError):  # there is a file, or the file system has no links
                os.link(temporary, path)
                return True
            with suppress(FileNotFoundError):
                there = read_file(path)
                if there != content and not is_ours(there):
                    return False
            os.replace(temporary, path)
            return True
    except OSError as error:
        raise OutputError(unwritable(path, error, flag)) from error


def stays(paths: Sequence[Path]) -> OutputError:
    """Error about files that `write_made` didn't write."""
    names = ", ".join(short_name(path) for path in paths)
    return OutputError(
        f"{names}: written by another program meanwhile, and stays as it is; move it away and run "
        "the same command again"
    )


def _name(path: str | Path) -> bytes:
    return hash_of(os.fsencode(os.path.basename(path)))


def _file(name: bytes) -> Path:
    """The file of the store with what is known of all files of a name; of names there are many."""
    return kept("made") / name[:2].decode()


def hash_of(content: bytes | str) -> bytes:
    """Hash of a content, or of how one is made."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:32].encode()
