"""Causes why FFmpeg can't open a file, found in its content; imports no PyAV."""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import BinaryIO

from dycoke_cli.storage.input_file import LFS_POINTER, starts_lfs_pointer
from dycoke_cli.video.file_layout import boxes
from dycoke_cli.video.file_names import is_picture

_SNIFFED_BYTES = 4096
_WEB_PAGE = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
# Types of the boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12; QuickTime File
# Format Specification), and the largest number of boxes that are looked at.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid")
_INDEX, _MOST_BOXES = b"moov", 10_000


def why_unreadable(file: BinaryIO, name: str) -> str:
    """Sentence with the cause why a file isn't a video, or by its name a picture, to be opened."""
    wanted = "picture" if is_picture(name) else "video"
    file.seek(0)
    head = file.read(_SNIFFED_BYTES)
    if starts_lfs_pointer(head):
        return f"{name} {LFS_POINTER}"
    if _WEB_PAGE.match(head):
        return f"{name} is a web page, not a {wanted}: download the {wanted} that the page shows"
    if _is_text(head):
        return f"{name} is a text file, not a {wanted}: name a {wanted} file"
    return without_index(file, name) or (
        f"{name} isn't a {wanted} that can be read: it is another kind of file, "
        "or it is damaged at its start"
    )


def without_index(file: BinaryIO, name: str) -> str | None:
    """Sentence for an MP4 that ends before or within its index; None for any other file."""
    file.seek(4)
    if file.read(4) not in _FIRST_BOXES:
        return None
    size = file.seek(0, os.SEEK_END)
    first = islice(boxes(file, 0, size), _MOST_BOXES)
    ends = [end for kind, _, end in first if kind == _INDEX and end is not None]
    if ends and ends[0] <= size:
        return None
    return (
        f"{name} can't be read: its index (the moov box) {'is cut off' if ends else 'is missing'}, "
        "because its download or recording stopped early: download it again "
        "(`curl -C - -LO ADDRESS` resumes one)"
    )


def _is_text(head: bytes) -> bool:
    # The last character may be cut off, which decodes to U+FFFD.
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    return all(character.isprintable() or character.isspace() for character in text)
