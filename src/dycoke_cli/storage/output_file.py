"""Output files of commands: checked before any work starts, replaced atomically."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dycoke_cli.errors import DycokeError, OutputError, UsageError
from dycoke_cli.storage.temporary import temporary_file
from dycoke_cli.unicode import display_name

# A path component is at most 255 bytes on common file systems; a longer text was never a path.
_MAX_SHOWN = 250
_FILES = {
    *(".csv", ".htm", ".html", ".json", ".jsonl", ".log", ".md", ".ndjson", ".parquet", ".pdf"),
    *(".png", ".srt", ".svg", ".tsv", ".txt", ".vtt", ".xls", ".xlsx", ".yaml", ".yml", ".zip"),
}
"""Suffixes that no folder has."""


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


def check_suffix(path: Path, suffixes: Sequence[str], flag: str) -> None:
    """Check that the name of a file says one of the formats that are written.

    Args:
        suffixes: of the formats, such as ".csv".
    """
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        either = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"{flag} {short_name(path)}: name a file that ends in {either}")


def check_folder_name(path: Path, flag: str) -> None:
    """Check that a name isn't that of a file, where a folder is made."""
    if path.suffix.lower() in _FILES and not path.is_dir():
        raise UsageError(
            f"{flag} {short_name(path)}: it is a folder; name one, as in {flag} "
            f"{short_name(path.with_suffix(''))}"
        )


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A temporary file that replaces `path` at the end of the block."""
    # In the same folder, since a rename is atomic only within one file system.
    with temporary_file(path, mode) as temporary:
        yield temporary
        os.replace(temporary, path)


def replace_content(path: Path, content: bytes | bytearray, mode: int = 0o666) -> None:
    """Replace the content of a file atomically, or create the file."""
    with replacing(path, mode) as temporary:
        temporary.write_bytes(content)


def unwritable(path: Path, error: OSError, flag: str = "--out") -> str:
    """Error message for a file that can't be written."""
    return f"{short_name(path)} can't be written ({error.strerror}); give another {flag}"


def short_name(path: Path) -> str:
    """Path for a message; an overlong one is truncated."""
    name = display_name(path)
    return name if len(name) <= _MAX_SHOWN else f"{name[:60]}…"
