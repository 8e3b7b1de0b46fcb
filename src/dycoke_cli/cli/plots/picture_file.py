"""A picture or page that a flag names: refused at once, or written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.storage.output_file import check_output_file, replace_content, unwritable
from dycoke_cli.unicode import display_name


def check_picture(path: Path, suffixes: Sequence[str], flag: str = "--plot") -> None:
    """Refuse what can't be written.

    Args:
        path: of the file.
        suffixes: of the formats that there are, such as ".svg".
        flag: that named it.

    Raises:
        UsageError: another format, or a folder.
        OutputError: there is no folder for it, or something else has its name.
    """
    name = display_name(path)
    if path.suffix.lower() not in suffixes:
        formats = " or ".join(suffix[1:].upper() for suffix in suffixes)
        raise UsageError(
            f"{flag} {name}: the file is {formats}; name a file that ends in "
            f"{' or '.join(suffixes)}"
        )
    check_output_file(path, flag, "the new file would take its place")


def write_picture(path: Path, content: bytes, flag: str = "--plot") -> None:
    """Write a file, in place of what has its name.

    Args:
        path: of the file.
        content: of it.
        flag: that named it.

    Raises:
        OutputError: it can't be written.
    """
    try:
        replace_content(path, content)
    except OSError as error:
        raise OutputError(unwritable(path, error, flag)) from error
