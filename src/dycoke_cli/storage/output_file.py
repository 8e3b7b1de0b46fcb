"""Files that are written: output, replaced atomically, and temporary and private files."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dycoke_cli.errors import DycokeError, OutputError, UsageError
from dycoke_cli.unicode import display_name

# Files that this user alone may have written: no link, of no other user, writable for no other.


def is_of_another_user(status: os.stat_result) -> bool:
    """Whether another user owns a file or folder."""
    return status.st_uid != os.geteuid()


def read_own(path: Path, most_bytes: int = 2**24) -> str:
    """The text of a file, where this user alone may have written it."""
    with open(_opened(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise OSError(f"{path} is larger than {most_bytes} bytes")
        return file.read(most_bytes).decode("utf-8")


def open_own(path: Path) -> int:
    """Open a file for appending; a new one has mode 0600."""
    return _opened(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)


def check_own(path: Path) -> None:
    """Check that this user alone may have written a file."""
    os.close(_opened(path, os.O_RDONLY))


def _opened(path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    status = os.fstat(descriptor)
    # A second name of one of the user's other files is a link as well.
    own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and not is_of_another_user(status)
    if not own or status.st_mode & 0o022:
        os.close(descriptor)
        raise OSError(f"{path} isn't yours alone")
    return descriptor


# Temporary files and folders of which a killed process leaves none for long.
#
# The name of each has the machine and the process that made it. What a process has left that has
# ended is removed by the next one that makes such a file or folder.


_MADE_BY = r"([0-9a-f]{4})-([1-9]\d{0,6})-[0-9a-f]{6}"
_FILE = re.compile(rf"\.(.+)\.{_MADE_BY}\.part", re.DOTALL)
_LONGEST_NAME = 220  # bytes; file systems allow 255, with a dot in front and a suffix
_FOLDER = re.compile(rf"dycoke-(){_MADE_BY}")
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:4]


@contextmanager
def temporary_folder(place: Path | None = None) -> Iterator[Path]:
    """A new folder, closed to other users, for the length of the block.

    Args:
        place: its parent; None for the usual folder of temporary files.
    """
    parent = place or Path(tempfile.gettempdir())
    _remove(parent, _FOLDER, None)
    folder = parent / f"dycoke-{_made_by()}"
    folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_file(beside: Path, mode: int) -> Iterator[Path]:
    """A new, empty file in the folder of another one, for the length of the block."""
    hidden = hidden_name(beside.name)
    _remove(beside.parent, _FILE, hidden[1:])
    file = beside.with_name(f"{hidden}.{_made_by()}.part")
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def hidden_name(name: str) -> str:
    """Begin of the name of a hidden file that belongs to another, which has a suffix behind it."""
    encoded = os.fsencode(name)
    return f".{hashlib.sha256(encoded).hexdigest() if len(encoded) > _LONGEST_NAME else name}"


def remove_left(parent: Path) -> None:
    """Remove all temporary files and folders that killed processes have left in a folder."""
    _remove(parent, _FILE, None)
    _remove(parent, _FOLDER, None)


def _made_by() -> str:
    return f"{_HOST}-{os.getpid()}-{secrets.token_hex(3)}"


def _remove(folder: Path, names: re.Pattern[str], name: str | None) -> None:
    with suppress(OSError):  # the folder can't be read
        # By names alone: a folder of thousands of files is searched each time that one is written.
        for entry in os.scandir(folder):
            found = names.fullmatch(entry.name)
            if not found or name not in (None, found[1]) or found[2] != _HOST:
                continue
            if _runs(int(found[3])) or is_of_another_user(entry.stat(follow_symlinks=False)):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with suppress(OSError):  # another process removes it
                    os.unlink(entry)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


# A path component is at most 255 bytes on common file systems; a longer text was never a path.
_MAX_SHOWN = 250


def check_output_file(
    path: Path, flag: str, why: str, *, folder: type[DycokeError] = UsageError
) -> None:
    """Check that a file can be written at a path."""
    name = short_name(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG  # a new file, whose folder is checked below
    except OSError as error:
        raise OutputError(unwritable(path, error, flag)) from error
    if stat.S_ISDIR(mode):
        raise folder(f"{flag} {name} is a folder; give a file in it")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{flag} {name} isn't a file; {why}")
    if not path.parent.is_dir():
        raise OutputError(
            f"{flag} {name}: there is no folder {short_name(path.parent)}; make it first: `mkdir "
            f"-p {shlex.quote(short_name(path.parent))}`"
        )
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"{flag} {name}: the folder {short_name(path.parent)} can't be written; give another"
        )


def beside(path: str, place: str, suffix: str, folder: Path | None) -> Path:
    """The file that belongs to a video: with its name and a suffix, beside it or in a folder.

    Args:
        place: path of the video in the folders that were searched, which `folder` has as well.
        folder: None for that of the video.
    """
    if folder is None:
        return Path(path).with_suffix(suffix)
    # A list may name videos outside of its folder.
    inside = [part for part in Path(place).parts if part not in ("..", os.sep)]
    return folder.joinpath(*inside).with_suffix(suffix)


def check_writable(folder: Path, advice: str) -> None:
    """Check that a folder can be written, or made.

    Args:
        advice: what else to do.
    """
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise OutputError(f"{short_name(there)} is a file, not a folder; {advice}")
    if not os.access(there, os.W_OK):
        raise OutputError(f"the folder {short_name(there)} can't be written; {advice}")


def check_suffix(path: Path, suffixes: Sequence[str], flag: str) -> None:
    """Check that the name of a file ends in that of a format, such as ".csv"."""
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        either = f"{', '.join(others)} or {last}" if others else last
        example = f"{flag} {short_name(path.with_suffix(suffixes[0]))}"
        raise UsageError(
            f"{flag} {short_name(path)}: name a file that ends in {either}, as in {example}"
        )


def replace_content(path: Path, content: bytes | bytearray, mode: int = 0o666) -> None:
    """Replace the content of a file atomically, or create the file."""
    # In the same folder, since a rename is atomic only within one file system.
    with temporary_file(path, mode) as temporary:
        temporary.write_bytes(content)
        os.replace(temporary, path)


def unwritable(path: Path, error: OSError, flag: str = "--out") -> str:
    """Error message for a file that can't be written."""
    return f"{short_name(path)} can't be written ({error.strerror}); give another {flag}"


def short_name(path: Path) -> str:
    """Path for a message; an overlong one is truncated."""
    name = display_name(path)
    return name if len(name) <= _MAX_SHOWN else f"{name[:60]}…"
