"""Text that is valid Unicode stays as it is; names that aren't UTF-8 become escapes."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest

from dycoke_cli.unicode import is_valid, shown, to_json, valid


@pytest.mark.parametrize("text", ["", "é 🎈", "\\xff", "\x1b\n\u202e"])
def test_valid_text_stays(text: str) -> None:
    assert is_valid(text)
    assert valid(text) == text
    assert json.loads(to_json({"a": text}))["a"] == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (os.fsdecode(b"caf\xe9 \x80\xff"), "caf\\xe9 \\x80\\xff"),
        ("\ud800a\udc00", "\\ud800a\\udc00"),
        ("\ud83c\udf88", "\\ud83c\\udf88"),  # two halves that aren't one character
    ],
)
def test_lone_surrogates_are_escaped(text: str, escaped: str) -> None:
    assert not is_valid(text)
    assert valid(text) == escaped
    line = to_json({"a": [{"b": (text, 1, None)}]})
    assert line.isascii()
    assert json.loads(line) == {"a": [{"b": [escaped, 1, None]}]}


def test_what_unicode_calls_a_control_character_is_escaped() -> None:
    for code in range(0x110000):
        character = chr(code)
        harmful = unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"
        harmful |= unicodedata.bidirectional(character) in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        )  # fmt: skip
        assert (shown(character) != character) == harmful, hex(code)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        to_json({"a": float("nan")})
