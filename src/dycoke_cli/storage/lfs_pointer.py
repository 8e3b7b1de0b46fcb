"""Detection of Git LFS pointers: small text files in place of a repository's large files."""

from __future__ import annotations

import os

from dycoke_cli.storage.input_file import first_bytes

_HEAD = b"version https://git-lfs"
LFS_POINTER = "is only a Git LFS pointer: fetch the file itself with `git lfs pull`"
"""Predicate of an error message, after the name of the file."""


def starts_lfs_pointer(content: bytes) -> bool:
    """Whether a file's first bytes are those of a pointer."""
    return content.startswith(_HEAD)


def is_lfs_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file is a pointer; False if it can't be read."""
    return starts_lfs_pointer(first_bytes(path, len(_HEAD)))
