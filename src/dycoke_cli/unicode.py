r"""Names of files in text that must be valid Unicode.

A name on Linux is bytes. Python carries those that aren't UTF-8 as lone surrogates, which neither
UTF-8 nor JSON has; in what is written they stand as escapes, `\xff` for the byte 255.
"""

from __future__ import annotations

import json
import re
from typing import Any

_LONE = re.compile("[\ud800-\udfff]")


def is_valid(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    return _LONE.search(text) is None


def valid(text: str) -> str:
    r"""A text with each lone surrogate as an escape, `\xff` where it carries a byte."""
    return _LONE.sub(_escape, text)


def to_json(document: dict[str, Any]) -> str:
    """A JSON object on one line, in ASCII, that every program can read: valid Unicode, no NaN."""
    return json.dumps(_valid(document), ensure_ascii=True, allow_nan=False)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, list | tuple) else value
