"""Text from a model, a file or a user, made safe to show: never interpreted, always visible."""

from __future__ import annotations

import unicodedata

from dycoke_cli.unicode import valid

# Explicit directions can make a line read as something that it doesn't say.
_DIRECTION_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(text: str) -> str:
    """Escape control characters other than newline and tab, and bytes that aren't UTF-8.

    Works character by character, so that the pieces of a stream can be escaped one by one.
    """
    text = valid(text)
    return "".join(character if _harmless(character) else _escape(character) for character in text)


def one_line(text: str) -> str:
    """Like `shown`, with any run of white space as one space."""
    return shown(" ".join(text.split()))


def _harmless(character: str) -> bool:
    if character in "\n\t":
        return True
    return unicodedata.category(character) != "Cc" and character not in _DIRECTION_CONTROLS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
