"""Files that commands make: captions, tables, times, reports, pages and pictures.

What somebody has changed since is never replaced, and what nobody has changed is no input that a
later run finds by itself. Both are known by hashes in the cache folder, kept before a file is
written. The store only grows, by a line for each content of a file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import kept, make_folder
from dycoke_cli.storage.input_file import read_file
from dycoke_cli.storage.output_file import open_own, replace_own, short_name

_Ways = dict[bytes, dict[bytes, set[bytes]]]
"""Hashes of how contents were made, by those of the contents, by those of their places."""


class MadeFiles:
    """What was written up to the first question about it."""

    def __init__(self) -> None:
        self._read: dict[Path, dict[bytes, _Ways]] = {}  # by the hashes of the files' names

    def ways(self, path: str | Path, content: bytes, entry: str = "") -> set[bytes]:
        """Hashes of how a content was made; empty if it wasn't written there. Args: of `note`."""
        return self._named(path).get(_place(path, entry), {}).get(hash_of(content), set())

    def has(self, path: str | Path) -> bool:
        """Whether anything was written to a path."""
        return _place(path, "") in self._named(path)

    def is_own(self, path: str | Path) -> bool:
        """Whether a file is as a command wrote it, in whatever folder it is by now."""
        if not (named := self._named(path)):
            return False  # most files, which aren't hashed for that
        try:
            content = hash_of(read_file(path))
        except OSError:
            return False
        return any(content in contents for contents in named.values())

    def _named(self, path: str | Path) -> _Ways:
        name = os.fsencode(os.path.basename(path))
        file = _file(name)
        if file not in self._read:
            found: dict[bytes, _Ways] = {}
            for hashed, place, content, way in _lines(file):
                found.setdefault(hashed, {}).setdefault(place, {}).setdefault(content, set())
                found[hashed][place][content].add(way)
            self._read[file] = found
        return self._read[file].get(hash_of(name), {})


def note(path: str | Path, content: bytes, *, entry: str = "", way: str = "") -> None:
    """Keep the hash of a content before it is written.

    Args:
        entry: of a file with several, which of them it is.
        way: how it is made.
    """
    name = os.fsencode(os.path.basename(path))
    line = b" ".join((hash_of(name), _place(path, entry), hash_of(content), hash_of(way.encode())))
    # Where the folder can't be written, the file counts as changed later, and is kept.
    with suppress(OSError):
        file = _file(name)
        make_folder(file.parent)
        descriptor = open_own(file)
        try:
            # The line end in front parts it from one that a power failure cut off.
            os.write(descriptor, b"\n%s\n" % line)
        finally:
            os.close(descriptor)


def check_replaceable(path: Path, *, resumes: bool = True) -> None:
    """Refuse a file that is there, unless an earlier run made it and nobody has changed it since.

    Args:
        resumes: whether the file may be that of an earlier run.
    """
    if path.exists() and not (resumes and is_unchanged(path)):
        changed = resumes and MadeFiles().has(path)
        why = "was changed since it was written" if changed else "exists"
        raise OutputError(
            f"{short_name(path)} {why}, and stays as it is; name another file, or delete it"
        )


def write_made(
    path: Path,
    content: bytes,
    flag: str = "--out",
    is_ours: Callable[[bytes], bool] | None = None,
) -> bool:
    """Write a file; after a crash it is the earlier or the new one.

    Args:
        is_ours: whether the file with some content may be replaced; None for what was written here.

    Returns:
        Whether it is written; else the file that is there by now stays.
    """
    note(path, content)
    return replace_own(path, content, is_ours or (lambda there: _wrote(path, there)), flag)


def stays(paths: Sequence[Path]) -> OutputError:
    """Error about files that `write_made` didn't write."""
    names = ", ".join(short_name(path) for path in paths)
    return OutputError(
        f"{names}: written by another program meanwhile, and stays as it is; move it away and run "
        "the same command again"
    )


def is_unchanged(path: Path) -> bool:
    """Whether a file is as `write_made` wrote it."""
    try:
        return _wrote(path, read_file(path))
    except OSError:
        return False


def _wrote(path: Path, content: bytes) -> bool:
    return bool(MadeFiles().ways(path, content))


def _file(name: bytes) -> Path:
    """The file of the store with what is known of all files of a name; of names there are many."""
    return kept("made") / hash_of(name)[:2].decode()


def _place(path: str | Path, entry: str) -> bytes:
    return hash_of(os.fsencode(f"{os.path.abspath(path)}\0{entry}"))


def hash_of(content: bytes) -> bytes:
    """Hash of a content, or of how one is made."""
    return hashlib.sha256(content).hexdigest()[:32].encode()


def _lines(file: Path) -> Iterator[list[bytes]]:
    with suppress(OSError):
        for line in read_file(file).split(b"\n"):
            if len(words := line.split(b" ")) == 4:
                yield words
