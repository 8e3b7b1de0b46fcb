r"""Normalization of text in any script, for comparisons and for `\w`.

Python's `\w` excludes combining marks, so it splits Hindi and Thai words at their vowels. Equal
texts have several encodings ("é" is one character or two), and letters have wide, circled and bold
forms.
"""

from __future__ import annotations

import re
import unicodedata

# Vowel signs that Arabic and Hebrew writers leave out at will, the line that stretches an Arabic
# word, and variation selectors ("✔" as text or as a picture).
_OPTIONAL = re.compile(
    "[\u0591-\u05bd\u05bf-\u05c7\ufb1e\u0610-\u061a\u0640\u064b-\u065f\u0670\ufe00-\ufe0f]"
)
# Letters and signs outside ASCII with a plain equivalent that NFKC doesn't have.
_PLAIN = {ord(letter): plain for letter, plain in (("ß", "ss"), ("ẞ", "SS"), ("İ", "I"))} | {
    ord(first) + place: chr(ord("A") + place) for first in "🅐🅰" for place in range(26)
}
# Rare ideographs, which count as letters, stand for combining marks. Marks beyond the limit belong
# to historic scripts and to musical notation.
_LETTERS_OF_MARKS, _LAST_MARK = 0x20000, 0xABFF
# Scripts without spaces between words: ideographs, kana, Thai, Lao, Burmese, Khmer.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff"
# Marks around an answer. Signs of a quantity ("-5", "50%", "#1", "$3") belong to it.
_MARKS = " .,;:!?\"'`*¿¡…‥·。、，｡､؟،؛।॥։՞၊။።፣"
_WORD = re.compile(rf"(?=\w)[{UNSPACED}]|[^\W_{UNSPACED}]+")


def comparable(text: str) -> str:
    r"""Compose a text so that equal letters are equal characters, and `\w` matches each of them.

    Wide, circled and bold letters become plain ones (NFKC). Invisible characters and optional vowel
    signs are removed. Other combining marks become letters, so the result isn't for display.
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).translate(_PLAIN)
    return "".join(map(_letter, _OPTIONAL.sub("", text)))


def bare(text: str) -> str:
    """Comparable text in lower case, with single spaces, without punctuation at its ends."""
    words = " ".join(comparable(text).lower().split())
    first, last = 0, len(words)
    while first < last and _is_mark(words[first]):
        first += 1
    while first < last and _is_mark(words[last - 1]):
        last -= 1
    return words[first:last]


def split_words(text: str) -> list[str]:
    """Words of a text in lower case; in scripts without spaces each character is one."""
    return _WORD.findall(comparable(text).lower())


def _letter(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Mn", "Mc") and ord(character) <= _LAST_MARK:
        return chr(_LETTERS_OF_MARKS + ord(character))
    return "" if category in ("Cf", "Me") else character


def _is_mark(character: str) -> bool:
    """Whether a character is a bracket, a quote, or a mark that ends or emphasizes a sentence."""
    return character in _MARKS or unicodedata.category(character) in ("Ps", "Pe", "Pi", "Pf")
