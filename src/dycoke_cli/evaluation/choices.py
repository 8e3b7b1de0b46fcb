"""Multiple choice: options with letters, and the letter that an answer means.

An answer that names no option, or several, is not understood: it is wrong, and counted. It is never
drawn at random, and an article is no letter ("a man" isn't option A).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dycoke_cli.evaluation.dataset import Item, Score

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_LETTER = r"([A-Z]|[a-z](?=[\W_]*$))"
_OPENING = r"[\s:=*_`\"'(\[{]*"
# In the order in which they are tried.
_ALONE = re.compile(r"[\W_]*(?:(?i:option|answer|choice)[\W_]+)?([A-Za-z])[\W_]*")
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-Z])\b")
_ANNOUNCED = re.compile(
    rf"\b(?i:answer|option|choice)\b({_OPENING}"
    rf"(?:(?i:is|was|be|would|should|the|option|choice|letter|correct)\b{_OPENING})*)"
    rf"{_LETTER}\b(?!['’-]\w)"
)
_LEADING = re.compile(r"[\s*_`\"'(\[{]*([A-Za-z])[*_`\"']*[).:\]}]")
_BRACKETED = re.compile(r"[(\[{]\s*([A-Za-z])\s*[)\]}]")
# "A" before a word in lower case is an article, but for words that follow no article; "I" is a
# pronoun.
_ARTICLE = re.compile(r"A\s+(?!(?:and|or|but|is|was|because|as|since|seems|would)\b)[a-z]")
_STANDALONE = re.compile(rf"(?<![\w'’-])(?!{_ARTICLE.pattern}|I\b)([A-Z])(?!['’-]?\w)")


def lettered(options: Sequence[str], form: str = "{}. {}") -> str:
    """Options one per line, each with its letter."""
    return "\n".join(form.format(LETTERS[i], option) for i, option in enumerate(options))


def chosen(said: str, options: Sequence[str]) -> str | None:
    r"""The letter of the option that an answer means; None where it means none, or several.

    In this order: the letter alone ("B", "(b).", "Option B"); the last one that is announced ("the
    answer is B", "\boxed{B}"); one that begins the answer ("B. A dog"); the one in brackets; the
    one that stands by itself; the one option whose text is the answer, or in it.

    Args:
        said: the answer.
        options: their texts, in the order of the letters.
    """
    known = LETTERS[: len(options)]
    for letters in (
        [match[1] for match in [_ALONE.fullmatch(said)] if match],
        _BOXED.findall(said)[-1:],
        _announced(said)[-1:],
        [match[1] for match in [_LEADING.match(said)] if match],
        _BRACKETED.findall(said),
        _STANDALONE.findall(said),
    ):
        meant = {letter.upper() for letter in letters}
        if meant:
            return meant.pop() if len(meant) == 1 and meant <= set(known) else None
    return _by_text(said, options)


def _announced(said: str) -> list[str]:
    """The letters after "answer is", "Option" and the like; not the article in "Answer: A man"."""
    return [
        match[2]
        for match in _ANNOUNCED.finditer(said)
        if ":" not in match[1] or not _ARTICLE.match(said, match.start(2))
    ]


def score_choice(item: Item, said: str) -> Score:
    """What an answer to a question with options is worth; `item.answer` is the right letter."""
    letter = chosen(said, item.options)
    return Score(letter == item.answer, parsed=letter is not None)


def _by_text(said: str, options: Sequence[str]) -> str | None:
    words = f" {_words(said)} "
    texts = [_words(option) for option in options]
    same = [i for i, text in enumerate(texts) if text and words == f" {text} "]
    # An option within another ("red" in "dark red") isn't what the longer one says.
    named = [i for i, text in enumerate(texts) if text and f" {text} " in words]
    named = [
        i for i in named if not any(texts[i] in texts[j] and texts[i] != texts[j] for j in named)
    ]
    found = same or named
    return LETTERS[found[0]] if len(found) == 1 else None


def _words(text: str) -> str:
    """A text in lower case, without punctuation around and between its words."""
    return " ".join(re.findall(r"[\w'’]+", re.sub(r"^\s*\(?[A-Z][).:]\s+", "", text).lower()))
