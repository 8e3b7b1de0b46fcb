"""Text that is valid Unicode stays as it is; names that aren't UTF-8 become escapes."""

from __future__ import annotations

import json
import os
import re
import unicodedata

import pytest

from dycoke_cli.unicode import for_model, is_valid, one_line, shown, to_json, valid


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


# Format characters that are seen: Arabic and other number signs, hieroglyphs' layout.
SEEN = re.compile(
    "[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]"
)
JOINERS = "\u200c\u200d"


def test_what_is_invisible_is_escaped() -> None:
    for code in range(0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        harmful = category in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t"
        harmful |= category == "Cf" and not SEEN.match(character) and character not in JOINERS
        if category != "Cn":
            assert (shown(character) != character) == harmful, hex(code)


def test_a_model_reads_the_marks_that_scripts_are_written_with() -> None:
    hebrew, thai = "\u200f\u05e9\u05dc\u05d5\u05dd!\u200e", "\u0e01\u200b\u0e02"
    assert for_model(hebrew + thai) == hebrew + thai
    assert for_model("a\x1b[2Jb\0\n\t") == "a\\x1b[2Jb\\x00\n\t"
    # Marks that only order letters on a screen.
    assert for_model("\u202b\u05e9\u202c \u202ea\u2067b\u2069") == "\u05e9 ab"


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        to_json({"a": float("nan")})


def test_text_that_could_move_the_cursor_is_visible() -> None:
    assert shown("a\tb\nc\r\x1b\x7f\x9b\u202e\udc80é🎈") == (
        "a\tb\nc\\r\\x1b\\x7f\\x9b\\u202e\\x80é🎈"
    )
    assert one_line("  a\n\n b\x1b ") == "a b\\x1b"
