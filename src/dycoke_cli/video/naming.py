"""How file names are shown: as text that can't move a terminal's cursor or forge a line."""

from __future__ import annotations

import os

# Joins the parts of one emoji; invisible, harmless, and its loss would break the name's look.
_ZERO_WIDTH_JOINER = "\u200d"


def display_name(path: str | bytes | os.PathLike[str]) -> str:
    r"""Show a path on one line: whatever isn't printable is written as an escape.

    Spaces, letters of any script and emoji stay as they are. Newlines, control characters,
    terminal escapes, direction overrides and bytes that aren't UTF-8 become `\n`, `\x1b`,
    `\u202e` and the like.
    """
    return "".join(_shown(character) for character in os.fsdecode(path))


def _shown(character: str) -> str:
    if character.isprintable() or character == _ZERO_WIDTH_JOINER:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that isn't UTF-8, as os.fsdecode carries it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
