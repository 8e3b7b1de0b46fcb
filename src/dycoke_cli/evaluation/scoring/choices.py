"""Multiple-choice scoring: extraction of the chosen option's letter from a free-form answer.

The letter that leads the answer or is announced counts, whatever the answer says of the others. An
answer that names no option, or several, is unparsable: it is incorrect, and counted. No letter is
drawn at random, and an article isn't a letter ("a man" isn't option A).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from dycoke_cli.evaluation.dataset import Item, Score
from dycoke_cli.evaluation.scoring.comparable_text import comparable
from dycoke_cli.evaluation.scoring.languages import in_english
from dycoke_cli.evaluation.scoring.mentions import Mention, Sense, capitalized, corrects, mentions
from dycoke_cli.evaluation.scoring.option_texts import (
    FIRST_CIRCLED,
    LETTERS,
    MARKUP,
    NUMBERS,
    OptionTexts,
    read_options,
)
from dycoke_cli.evaluation.scoring.thinking import answer_of

__all__ = ["LETTERS", "chosen", "lettered", "score_choice"]

# Characters of an answer that are read: its beginning and its conclusion.
_FIRST, _LAST = 2000, 6000
_STRUCK = re.compile(
    r"~~.{0,500}?~~|<(?:s|del|strike)>.{0,500}?</(?:s|del|strike)>", re.DOTALL | re.IGNORECASE
)
_HTML = re.compile(r"<(b|i|u|em|strong|p|code)>(.{0,500}?)</\1>", re.DOTALL | re.IGNORECASE)
_ALONE = re.compile(
    r"[\W_]*(?:(?:the|my|correct|final|option|answer|choice|letter|is)\b[\W_]*)*([a-z])[\W_]*", re.I
)
# Words after which an answer corrects itself or concludes: the letter behind them counts.
_TURN = re.compile(
    r"\b(?:wait|actually|sorry|correction|correcting|no|hmm+|oops|second\s+thought|instead|however|but"
    r"|i\s+mean|make\s+(?:it|that)|scratch\s+that|rather(?!\s+than)|on\s+reflection"
    r"|therefore|thus|hence|so|final|finally|conclusion|overall|summary|re-?check\w*|mistake\w*)\b",
    re.I,
)
# An answer that is taken back at its end, with none in its place. Only the last characters are
# searched: in "no no no no …" each word may begin a match that reads all that follow.
_LAST_WORDS = 200
_WITHDRAWN = re.compile(
    r"\b(?:wait|hmm+|actually|sorry|oops|no)\b[\s,.:;!-]*+(?:(?:wait|hmm+|actually|no)\b[\s,.:;!-]*+)*"
    r"(?:(?:(?:that|this|it)(?:['’]s|\s+is|\s+was)\s+(?:wrong|incorrect|not\s+(?:right|correct|it)"
    r"|a\s+mistake)|I\s+(?:was|am)\s+(?:wrong|not\s+sure|mistaken)|(?<=wait, )no|(?<=wait )no"
    r"|(?<=no, )wait)[\s.!]*)$",
    re.I,
)
_NTH = {
    **{word: place for place, word in enumerate(("first", "second", "third", "fourth", "fifth"))},
    **{word: place for place, word in enumerate(("1st", "2nd", "3rd", "4th", "5th"))},
    "last": -1,
}
_NUMBER = rf"(?:[1-9]\d?|{'|'.join(NUMBERS)})(?![\w%]|[.,:]\d)"
# "Option 2", "options 2 and 3", and as Chinese, Japanese and Korean write it.
_NUMBERED = re.compile(
    rf"\b(?:options?|alternatives?|(?:answer\s+)?choices?|candidates?)\s*+(?:numbers?|no\b\.?|nr\b\.?|#)?"
    rf"\s*+\(?{_NUMBER}\)?(?:\s*(?:,|/|&|\band\b|\bor\b)\s*{_NUMBER})*",
    re.I,
)
_COUNTED = re.compile(r"(?:第|(?<!\s))\s*+([1-9])\s*(?:番(?!目)|번(?!째)|个?选项|個?選項|项|項)")
_CIRCLED = {ord(FIRST_CIRCLED) + place: f" option {place + 1} " for place in range(20)}
# "The first option", not "my first choice" nor "the first answer is B".
_ORDINAL = re.compile(
    rf"(?<!my )(?<!our )(?<!his )(?<!her )\b(?:the\s+)?({'|'.join(_NTH)})\s+"
    r"(?:(?:answer\s+)?(?:option|choice|alternative)|answer(?!\s+(?:option|choice)))\b"
    r"(?!\s*+(?:is|was|would\s+be|[:=])?\s*+\(?(?-i:[A-Z])\b)",
    re.I,
)
_NTH_ALONE = re.compile(rf"[\W_]*(?:the\s+)?({'|'.join(_NTH)})(?:\s+one)?[\W_]*", re.I)


def lettered(options: Sequence[str], form: str = "{}. {}") -> str:
    """Format options, one per line with its letter."""
    return "\n".join(form.format(LETTERS[i], option) for i, option in enumerate(options))


def chosen(said: str, options: Sequence[str]) -> str | None:
    r"""Letter of the chosen option; None if the answer chooses none, or several.

    Reasoning is removed (`thinking.answer_of`). Of an answer of more than 8,000 characters, the
    first 2,000 and the last 6,000 are read, so that no answer takes long. The first match decides:

    1. the answer is a letter ("B", "(b).", "Option B"), or a place ("option 2", "the second one");
    2. the answer is the text of an option, whatever the articles;
    3. a letter leads the answer ("B. A dog", "B, because …") or is announced ("the answer is B",
       "\boxed{B}", "B is correct", "la réponse est B", "정답은 B"); of several the last, if it
       follows a correction or conclusion ("A. No, B.", "so the answer is"); none, if the answer is
       taken back without another ("B. Wait, no");
    4. a hedged letter ("it could be B");
    5. the only letter named without denial, or the only one not denied ("A and C are wrong");
    6. the only option whose text is in the answer.

    Args:
        said: the answer.
        options: texts of the options, in the order of the letters.
    """
    valid = frozenset(LETTERS[: len(options)])
    texts = read_options(tuple(options))
    text = _plain(answer_of(said), texts)
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper() if alone[1].upper() in valid else None
    if whole := texts.same(text):
        return whole if len(whole) == 1 else None
    any_text = texts.pattern
    text = _ends(_outside(any_text, text, in_english))
    ambiguous = texts.has_numbers and _NUMBERED.search(text) is not None
    if not ambiguous:
        text = _outside(any_text, text, lambda part: _with_letters(part, len(options)))
        if nth := _NTH_ALONE.fullmatch(text):
            return _nth(nth[1], len(options)) or None
    if alone := _ALONE.fullmatch(text):
        text = alone[1].upper()
    # Letters within an option's text aren't choices: the C of "Vitamin C", the A of "A red star".
    # Lower case hides them from `mentions`. A text that corrects an answer counts as its letter.
    text = any_text.sub(
        lambda match: (
            f"({match.lastgroup})"
            if match[0].lower() != "no" and corrects(match.string, match.start())
            else match[0].lower()
        ),
        capitalized(text),
    )
    named = list(mentions(text, any_text))
    if any(one.letters & valid or one.sense is Sense.ANNOUNCED for one in named):
        last_words = max(named[-1].end, len(text.rstrip(" \n.!")) - _LAST_WORDS)
        if (end := _WITHDRAWN.search(text, last_words)) and not any_text.search(end[0]):
            return None
        denied = frozenset().union(*(one.letters for one in named if one.sense is Sense.DENIED))
        left = valid - denied
        return _decided(text, named, valid) or (
            min(left) if len(left) == 1 and all(o.sense is Sense.DENIED for o in named) else None
        )
    if ambiguous:
        return None
    # No letter is named: replace the options' texts by their letters, and apply the same rules.
    by_text = any_text.sub(lambda match: f"({match.lastgroup})", text.lower())
    return _decided(by_text, list(mentions(by_text, any_text)), valid)


def score_choice(item: Item, said: str) -> Score:
    """Score an answer to a multiple-choice question; `item.answer` is the correct letter."""
    letter = chosen(said, item.options)
    return Score(letter == item.answer, parsed=letter is not None)


def _decided(text: str, named: Sequence[Mention], valid: frozenset[str]) -> str | None:
    """Letter of the strongest mentions of a text; None if they name several."""
    for sense in (Sense.ANNOUNCED, Sense.HEDGED, Sense.NAMED):
        strongest = [
            one
            for one in named
            if one.sense is sense and (sense is Sense.ANNOUNCED or one.letters & valid)
        ]
        if not strongest:
            continue
        meant, last = frozenset().union(*(one.letters for one in strongest)), strongest[-1]
        others = [one for one in strongest if one.letters != last.letters]
        if sense is Sense.ANNOUNCED and others and _TURN.search(text, others[-1].end, last.start):
            meant = last.letters
        return min(meant) if len(meant) == 1 and meant <= valid else None
    return None


def _plain(text: str, texts: OptionTexts) -> str:
    """Comparable text without Markdown, HTML and LaTeX markup, and without what is struck out."""
    if not texts.has_circled:
        text = text.translate(_CIRCLED)
    text = comparable(_STRUCK.sub(" ", _ends(text))).replace("\\boxed", " Final answer: ")
    return _ends(MARKUP.sub("", _HTML.sub(r"\2", text)).strip())


def _ends(text: str) -> str:
    """First and last characters of a long text. Normalization and translation lengthen a text."""
    if len(text) <= _FIRST + _LAST:
        return text
    return f"{text[:_FIRST]}\n\n{text[-_LAST:]}"


def _outside(texts: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """Change a text outside the options' texts, with a space where those join other words."""
    parts, begin = [], 0
    for match in texts.finditer(text):
        parts += [change(text[begin : match.start()]), match[0]]
        begin = match.end()
    parts.append(change(text[begin:]))
    return re.sub(r"(?<=\w)\0(?=\w)", " ", "\0".join(parts)).replace("\0", "")


def _with_letters(text: str, count: int) -> str:
    """Replace places by letters: "option 2" and "the second option" by "option B"."""

    def letters(match: re.Match[str]) -> str:
        return re.sub(_NUMBER, lambda number: _of_number(number[0], count), match[0], flags=re.I)

    text = _COUNTED.sub(r" option \1 ", text)
    text = _ORDINAL.sub(
        lambda match: f"option {_nth(match[1], count)}" if _nth(match[1], count) else match[0], text
    )
    return _NUMBERED.sub(letters, text)


def _of_number(number: str, count: int) -> str:
    """Letter of a number, unless there are fewer options."""
    place = int(number) if number.isdecimal() else NUMBERS.index(number.lower()) + 1
    return LETTERS[place - 1] if place <= count else number


def _nth(word: str, count: int) -> str:
    """Letter of an ordinal; empty if there are fewer options."""
    place = _NTH[word.lower()]
    return LETTERS[place % count] if place < count else ""
