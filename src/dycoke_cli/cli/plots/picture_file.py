"""Output file of a plot or page: checked early, written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.output_file import (
    check_output_file,
    check_suffix,
    replace_content,
    unwritable,
)


def check_picture(path: Path, suffixes: Sequence[str], flag: str = "--plot") -> None:
    """Check that a plot can be written.

    Args:
        suffixes: suffixes of the available formats, such as ".svg".
    """
    check_suffix(path, suffixes, flag)
    check_output_file(path, flag, "the new file would take its place")


def write_picture(path: Path, content: bytes, flag: str = "--plot") -> None:
    """Write or replace a file.

    Args:
        content: bytes of the file.
    """
    try:
        replace_content(path, content)
    except OSError as error:
        raise OutputError(unwritable(path, error, flag)) from error
