r"""Escaping of file names and untrusted text: valid Unicode, safe in a terminal.

A file name on Linux is bytes. Python represents bytes that aren't UTF-8 as lone surrogates, which
neither UTF-8 nor JSON can encode. Output has escapes in their place: `\xff` for the byte 255.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

_LONE = re.compile("[\ud800-\udfff]")
# Joins the parts of one emoji; invisible, harmless, and its loss would break the name's look.
_ZERO_WIDTH_JOINER = "\u200d"
# Control characters except newline and tab, and direction overrides, which reorder a line so that
# it reads as something else ("Trojan Source").
_DIRECTIONS = "\u202a-\u202e\u2066-\u2069"
_CONTROLS = f"\0-\x08\x0b-\x1f\x7f-\x9f{_DIRECTIONS}"
# Zero-width spaces, direction marks, line separators, tags. Joiners of letters are kept.
_INVISIBLE = (
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u2060-\u2065\u206a-\u206f"
    "\ufeff\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_HARMFUL, _CONTROL = re.compile(f"[{_CONTROLS}{_INVISIBLE}]"), re.compile(f"[{_CONTROLS}]")
_DIRECTION = re.compile(f"[{_DIRECTIONS}]")


def is_valid(text: str) -> bool:
    """Whether a text can be encoded as UTF-8."""
    return _LONE.search(text) is None


def valid(text: str) -> str:
    r"""Escape lone surrogates: `\xff` for one that represents a byte."""
    return _LONE.sub(_escaped, text)


def shown(text: str) -> str:
    """Escape invisible characters other than newline and tab, and bytes that aren't UTF-8.

    Each character is escaped by itself, so the chunks of a stream can be escaped one by one.
    """
    return _HARMFUL.sub(_escaped, valid(text))


def one_line(text: str) -> str:
    """Escape like `shown`, and collapse white space to single spaces."""
    return shown(" ".join(text.split()))


def for_model(text: str) -> str:
    """Escape control characters, and drop those of direction, which only a screen needs.

    Other invisible marks are kept, because Arabic, Hebrew and Thai need them. Where the text is
    printed later, `shown` escapes these, too.
    """
    return _CONTROL.sub(_escaped, _DIRECTION.sub("", valid(text)))


def display_name(path: str | bytes | os.PathLike[str]) -> str:
    r"""Path as one printable line; every unprintable character is escaped.

    Spaces, letters of any script and emoji stay as they are. Newlines, control characters,
    terminal escapes, direction overrides and bytes that aren't UTF-8 become `\n`, `\x1b`,
    `\u202e` and the like.
    """
    characters = os.fsdecode(path)
    return "".join(
        c if c.isprintable() or c == _ZERO_WIDTH_JOINER else _code(c) for c in characters
    )


def to_json(document: dict[str, Any]) -> str:
    """Serialize a JSON object on one line, in ASCII, with valid Unicode and no NaN."""
    return json.dumps(_valid(document), ensure_ascii=True, allow_nan=False)


def _escaped(match: re.Match[str]) -> str:
    return _code(match[0])


def _code(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that isn't UTF-8, as os.fsdecode carries it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, list | tuple) else value
