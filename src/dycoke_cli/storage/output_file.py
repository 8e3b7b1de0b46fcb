"""A file that a command writes: refused before anything takes time, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dycoke_cli.errors import DycokeError, OutputError, UsageError
from dycoke_cli.unicode import display_name

_LONGEST = 250


def check_output_file(
    path: Path, flag: str, why: str, *, folder: type[DycokeError] = UsageError
) -> None:
    """Refuse a place where no file can be written.

    Args:
        path: of the file, which may be there.
        flag: that named it.
        why: what is said of something that is neither file nor folder.
        folder: the error where it is a folder.

    Raises:
        DycokeError: it is a folder.
        OutputError: it is a device or a pipe, has no folder to be in, or its name is too long.
    """
    name = short_name(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    except OSError as error:
        raise OutputError(unwritable(path, error, flag)) from error
    if stat.S_ISDIR(mode):
        raise folder(f"{flag} {name} is a folder; give a file")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{flag} {name} isn't a file; {why}")
    if not path.parent.is_dir():
        raise OutputError(
            f"{flag} {name}: there is no folder {short_name(path.parent)}; make it first"
        )
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"{flag} {name}: the folder {short_name(path.parent)} can't be written; give another"
        )


def replace_content(path: Path, content: bytes | bytearray) -> None:
    """Put a file with this content in place of `path`, at once.

    Raises:
        OSError: it can't be written; `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.touch(exist_ok=False)  # never over somebody else's
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink()
        raise


def unwritable(path: Path, error: OSError, flag: str = "--out") -> str:
    """The sentence about a file that can't be written."""
    return f"{short_name(path)} can't be written ({error.strerror}); give another {flag}"


def short_name(path: Path) -> str:
    """A path as it is shown in a sentence: of one that is too long for a file, its beginning."""
    name = display_name(path)
    return name if len(name) <= _LONGEST else f"{name[:60]}…"
