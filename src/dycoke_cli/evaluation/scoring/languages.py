"""Translation of the words with which an answer names an option, from twenty languages to English.

The grammar of `mentions` is English. Phrases such as "la bonne réponse est" or "ist falsch" become
its words, and everything else of an answer stays as it is. The phrases are in phrases.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dycoke_cli.evaluation.scoring.comparable_text import comparable

_DATA = Path(__file__).with_name("phrases.toml")
_LETTER_BEFORE = r"""(?:(?<=[A-Z])|(?<=[A-Z][)\]"'”’»」』】》]))\s*"""
_LETTER_AFTER = r"""(?=\s*[(\["'“‘«「『【《]*[A-Z](?!\w))"""


@dataclass(frozen=True)
class _Language:
    """Phrases of a language.

    Args:
        pattern: matches each of them.
        english: English of each, in lower case.
        certain: phrases that no other language has.
        signs: words (in a language without spaces: characters) that begin the certain phrases.
        spaced: whether words are separated by spaces.
    """

    pattern: re.Pattern[str]
    english: Mapping[str, str]
    certain: frozenset[str]
    signs: frozenset[str]
    spaced: bool

    def in_english(self, text: str, words: frozenset[str]) -> str:
        """Translate the phrases of a text; unchanged if it has no certain one.

        Args:
            text: comparable text.
            words: its words in lower case.
        """
        if self.signs.isdisjoint(words if self.spaced else text):
            return text
        if not any(_folded(match[0]) in self.certain for match in self.pattern.finditer(text)):
            return text
        return self.pattern.sub(lambda match: f" {self.english[_folded(match[0])]} ", text)


def in_english(text: str) -> str:
    """Translate the phrases of a text with which it names an option; all else is unchanged.

    Args:
        text: result of `comparable`.
    """
    words = frozenset(re.findall(r"\w+", text.lower()))
    for language in _languages():
        text = language.in_english(text, words)
    return text


@cache
def _languages() -> tuple[_Language, ...]:
    tables = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    return tuple(map(_language, tables.values()))


def _language(table: dict[str, list[str] | bool]) -> _Language:
    spaced = table.get("spaced") is not False
    english, certain, forms = {}, set(), {}
    for key, phrases in table.items():
        for written in phrases if isinstance(phrases, list) else ():
            phrase = comparable(written.removeprefix("~"))
            text = _folded(phrase.replace("^", ""))
            english[text] = key
            forms[phrase] = _form(phrase, spaced)
            if not written.startswith("~"):
                certain.add(text)
    # Longer phrases first, since one may begin with another.
    pattern = "|".join(forms[phrase] for phrase in sorted(forms, key=len, reverse=True))
    signs = {re.findall(r"\w+", text)[0] if spaced else text[0] for text in certain}
    return _Language(
        re.compile(pattern, re.IGNORECASE), english, frozenset(certain), frozenset(signs), spaced
    )


def _form(phrase: str, spaced: bool) -> str:
    """Pattern of a phrase; `^` in it stands for a letter before or after."""
    words = phrase.replace("^", "").replace("'", "’").split()
    text = r"\s+".join(re.escape(word).replace("’", "['’]") for word in words)
    if len(phrase) == 1 and phrase.isascii():  # "e" is a word, "E" is a letter
        text = f"(?-i:{text})"
    before = f"(?-i:{_LETTER_BEFORE})" if phrase.startswith("^") else r"(?<!\w)" if spaced else ""
    after = f"(?-i:{_LETTER_AFTER})" if phrase.endswith("^") else r"(?!\w)" if spaced else ""
    return before + text + after


def _folded(phrase: str) -> str:
    return " ".join(phrase.lower().replace("’", "'").split())
