"""Files below a folder, and files that match a pattern, whatever links and depths the folder has.

`glob` and, before Python 3.12, `os.walk` call themselves for each level of folders, and `glob`
follows links in `**`: two links to their own folder are 2^40 paths. Here links in `**` aren't
followed. What a command here wrote isn't found, unless somebody has changed it since.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence

from dycoke_cli.errors import VideoError
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import is_folder

_RECURSIVE = re.compile(r"(|.*?[/\\])\*\*(?:[/\\](.*))?", re.DOTALL)
_SEPARATORS = re.compile(r"[/\\]+" if os.sep == "\\" else "/+")


def walk(folder: str, *, links: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk the folders below a folder, each before those in it; hidden ones aren't entered.

    Yields:
        Path of a folder relative to the first ("" is that), the names of the folders and of the
        files in it. Folders that the caller removes from the list aren't entered. A folder that
        can't be listed is left out.
    """
    from dycoke_cli.storage.made_files import MadeFiles  # late: few commands look for files

    entered, made = set[tuple[int, int]](), MadeFiles()
    left = [""]
    while left:
        inside = left.pop()
        path = os.path.join(folder, inside)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                found = [(entry.name, entry.is_symlink(), is_folder(entry)) for entry in entries]
        except OSError:
            continue
        folders = [name for name, link, here in found if here and (links or not link)]
        folders = [name for name in folders if not name.startswith(".")]
        files = [name for name, _, here in found if not here]
        yield inside, folders, [one for one in files if not made.is_own(os.path.join(path, one))]
        left += [os.path.join(inside, name) for name in reversed(folders)]


def files_in(folder: str) -> list[str]:
    """Paths of the files of a folder and of those in it.

    Raises:
        VideoError: the folder can't be read.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise VideoError(
            f"{display_name(folder)} can't be read ({error.strerror}): name a folder that can"
        ) from error
    found = walk(folder)
    return [os.path.join(folder, inside, name) for inside, _, names in found for name in names]


FileState = tuple[int, str, int]
"""Time of change in ns, path and size in bytes: a file that is written has another state."""


def state_of(path: str) -> FileState | None:
    """State of a regular file; None if it is none, or isn't there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    is_file = stat.S_ISREG(status.st_mode)
    return (status.st_mtime_ns, path, status.st_size) if is_file else None


def matches(pattern: str) -> Iterator[str]:
    """Paths of the files and folders that a glob pattern matches, in any order.

    As `glob.iglob(pattern, recursive=True)`, but `**` is no link to a folder.
    """
    recursive = _RECURSIVE.fullmatch(pattern)
    if recursive is None:
        from dycoke_cli.storage.made_files import MadeFiles

        made = MadeFiles()
        yield from (path for path in glob.iglob(pattern) if not made.is_own(path))
        return
    head, tail = recursive[1], recursive[2] or ""
    wanted = ["**", *filter(None, _SEPARATORS.split(tail))]
    for begin in glob.iglob(head) if glob.has_magic(head) else [head]:
        for inside, _, files in walk(begin or os.curdir):
            for path in (inside, *(os.path.join(inside, name) for name in files)):
                if (begin or path) and _fits(path.split(os.sep) if path else [], wanted):
                    yield os.path.join(begin, path)


def _fits(path: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern; "**" is any number of parts."""
    ends = {0}  # numbers of parts of the path that the pattern matches so far
    for part in wanted:
        if part == "**":  # no hidden file; hidden folders aren't walked
            last = len(path) - any(name.startswith(".") for name in path[-1:])
            ends |= {*range(min(ends, default=last + 1), last + 1)}
            continue
        ends = {
            end + 1
            for end in ends
            if end < len(path)
            and fnmatch.fnmatch(path[end], part)
            and (part.startswith(".") or not path[end].startswith("."))
        }
    return len(path) in ends
