"""Texts of a question's options, as patterns that find them in an answer; used by `choices`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dycoke_cli.evaluation.scoring.comparable_text import UNSPACED, bare, comparable

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""Words of the numbers from 1."""
FIRST_CIRCLED = "①"
"""The first of 20 characters that number options."""
MARKUP = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\b|[*`$#\\]|(?<![^\W_])_|_(?![^\W_])")
"""Markdown and LaTeX markup."""

# Words, not patterns: each is compared with a whole word.
_DEFINITE = (
    "the o os der die das den dem le la les l el los las il lo gli het de this that these those"
)
_INDEFINITE = "a an ein eine einen einem un une una um uma een one"
_ARTICLES = frozenset(f"{_DEFINITE} {_INDEFINITE}".split())
_THE = _DEFINITE.replace(" ", "|")
_ARTICLE = rf"(?:(?:{_THE}|{_INDEFINITE.replace(' ', '|')})\s+|l['’])"


@dataclass(frozen=True)
class OptionTexts:
    """Texts of the options of a question.

    Args:
        words: words of each, without its letter or number.
        pattern: finds a text in an answer; the group that matched is named by the letter.
        has_numbers: whether an option is a number, so that "option 2" may mean its place or its
            text.
        has_circled: whether an option has a circled number.
    """

    words: tuple[tuple[str, ...], ...]
    pattern: re.Pattern[str]
    has_numbers: bool
    has_circled: bool

    def same(self, text: str) -> str:
        """Letters of the options that an answer repeats; articles may differ if none is equal."""
        words = _words(text)
        return _same(words, self.words) or _same(_short(words), list(map(_short, self.words)))


@lru_cache(maxsize=1024)  # several methods are asked the same questions
def read_options(options: tuple[str, ...]) -> OptionTexts:
    """Prepare the texts of the options of a question, in the order of their letters."""
    texts = tuple(_words(_unlabelled(*one)) for one in zip(LETTERS, options, strict=False))
    plain = [bare(option) for option in options]
    circled = {chr(ord(FIRST_CIRCLED) + place) for place in range(20)}
    return OptionTexts(
        texts,
        _any_of(texts),
        any(one.isdecimal() or one in NUMBERS for one in plain),
        any(not circled.isdisjoint(option) for option in options),
    )


def _any_of(texts: Sequence[tuple[str, ...]]) -> re.Pattern[str]:
    """Pattern of the options' texts in an answer; the group that matched is named by the letter.

    Articles may differ ("the blue cube" for "A blue cube") unless that makes two options equal. A
    text that two options share identifies neither.
    """
    short = list(map(_short, texts))
    patterns = {}
    for letter, text in zip(LETTERS, texts, strict=False):
        if len(_same(_short(text), short)) == 1:
            patterns[letter] = _pattern(text, article=True)
        elif len(_same(text, texts)) == 1:
            patterns[letter] = _pattern(text, article=False)
    # Longer texts first, since one may contain another.
    longest_first = sorted(
        patterns, key=lambda letter: -len(" ".join(texts[LETTERS.index(letter)]))
    )
    groups = (f"(?P<{letter}>{patterns[letter]})" for letter in longest_first if patterns[letter])
    return re.compile("|".join(groups) or "(?!)", re.IGNORECASE | re.MULTILINE)


def _same(words: tuple[str, ...], texts: Sequence[tuple[str, ...]]) -> str:
    """Letters of the texts with these words; none if there are no words."""
    text = " ".join(words).lower()
    same = (LETTERS[i] for i, one in enumerate(texts) if " ".join(one).lower() == text)
    return "".join(same) if words else ""


def _unlabelled(letter: str, option: str) -> str:
    """Comparable text of an option, without the letter or number in front of it."""
    place = LETTERS.index(letter) + 1
    label = rf"\s*[(\[]?(?:{letter}|{place})[).:\]]\s+|\s*{chr(ord(FIRST_CIRCLED) + place - 1)}\s*"
    return comparable(re.sub(rf"^(?:{label})", "", option))


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+(?:['’]\w+)*", MARKUP.sub("", text)))


def _short(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words without articles."""
    return tuple(word for place, word in enumerate(words) if _counts(words, place))


def _counts(words: tuple[str, ...], place: int) -> bool:
    """Whether a word is no article: the last one ("Vitamin A"), and capitals ("Plan A works")."""
    word = words[place] if place else words[place].lower()
    return place == len(words) - 1 or word not in _ARTICLES


def _pattern(words: tuple[str, ...], *, article: bool) -> str:
    """Pattern of an option's text in an answer; empty if it is indistinguishable from a letter.

    Args:
        words: of the option.
        article: whether its articles may be others, or missing.
    """
    if not words or (len(words) == 1 and re.fullmatch("[A-Za-z]", words[0])):
        return ""
    places = [place for place in range(len(words)) if not article or _counts(words, place)]
    parts: list[str] = []
    for last, place in zip([-1, *places], places, strict=False):
        separator = r"[\W_]+" if place - last == 1 else rf"[\W_]+{_ARTICLE}?"
        word = re.escape(words[place]).replace("’", "'").replace("'", "['’]")
        parts.append(f"{separator}{word}" if parts else word)
    first, last_word = words[places[0]], words[places[-1]]
    # A script without spaces has no end of a word, and a Korean word has endings.
    end = "" if re.search(f"[{UNSPACED}가-힣]$", last_word) else r"(?!\w|[.,]\d)"
    text = "".join(parts) + end
    if re.match(f"[{UNSPACED}]", first):
        return text
    if not article:
        return rf"(?<!\w){text}"
    # "The cube" names the option "A cube". "A cube" may be another than that of "The cube".
    lead = rf"{_ARTICLE}?"
    if places[0] and words[0].lower() in _DEFINITE.split():
        lead = rf"(?:(?:{_THE})\s+|l['’]|(?:^|(?<=[.:(]\s))(?!{_ARTICLE}))"
    elif places[0]:
        lead = rf"(?:{_ARTICLE}|^|(?<=[.:(]\s))"
    return rf"(?<!\w){lead}(?<!\w){text}"
