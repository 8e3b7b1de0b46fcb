"""Multiple choice: options with letters, and the letter that an answer means.

Read as a person reads it: the letter that leads the answer or is announced counts, whatever is said
of the others. An answer that names no option, or several, is not understood: it is wrong, and
counted. It is never drawn at random, and an article is no letter ("a man" isn't option A).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from dycoke_cli.evaluation.dataset import Item, Score
from dycoke_cli.evaluation.scoring.mentions import Mention, Sense, capitalized, mentions
from dycoke_cli.evaluation.scoring.thinking import answer_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_MARKUP = re.compile(
    r"\\(?:text|mathrm|mathbf|textbf)\b|[*`$#\\]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)
_ALONE = re.compile(r"[\W_]*(?:(?:the|option|answer|choice|letter|is)\b[\W_]*)*([a-z])[\W_]*", re.I)
_NEVER = re.compile(r"(?!)")
# What follows one of these takes back, or concludes, what was before.
_TURN = re.compile(
    r"\b(?:wait|actually|sorry|correction|correcting|no|hmm|second\s+thought|instead|however|but"
    r"|therefore|thus|hence|so|final|finally|conclusion|overall|summary|re-?check\w*|mistake\w*)\b",
    re.I,
)


def lettered(options: Sequence[str], form: str = "{}. {}") -> str:
    """Options one per line, each with its letter."""
    return "\n".join(form.format(LETTERS[i], option) for i, option in enumerate(options))


def chosen(said: str, options: Sequence[str]) -> str | None:
    r"""The letter of the option that an answer means; None where it means none, or several.

    Thinking is cut off (`thinking.answer_of`). Of what is left, in this order: the letter alone
    ("B", "(b).", "Option B"); the option whose text is the whole answer; the letter that leads the
    answer ("B. A dog", "B, because …") or is announced ("the answer is B", "\boxed{B}", "B is
    correct"), of several the last if it takes back or concludes what was before ("wait", "so the
    answer is"); one that is held possible ("it could be B"); the only one that is named and not
    denied, or not denied at all ("A and C are wrong"); the only option whose text is in the answer.

    Args:
        said: the answer.
        options: their texts, in the order of the letters.
    """
    known = frozenset(LETTERS[: len(options)])
    text = _plain(answer_of(said))
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper() if alone[1].upper() in known else None
    texts = [_words(_unlabelled(*one)) for one in zip(LETTERS, options, strict=False)]
    patterns = [_pattern(one) if texts.count(one) == 1 else _NEVER for one in texts]
    if (whole := _words(text)) in texts and whole:
        return LETTERS[texts.index(whole)] if texts.count(whole) == 1 else None
    # The C of "Vitamin C", or the A of "A red star", is none where that is the text of an option.
    any_text = re.compile(
        "|".join(
            f"(?P<{LETTERS[i]}>{patterns[i].pattern})"
            for i in sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        ),
        re.IGNORECASE,
    )
    text = any_text.sub(lambda match: match[0].lower(), capitalized(text))
    found = list(mentions(text, patterns))
    if any(one.letters & known or one.sense is Sense.ANNOUNCED for one in found):
        denied = frozenset().union(*(one.letters for one in found if one.sense is Sense.DENIED))
        left = known - denied
        return _decided(text, found, known) or (
            min(left) if len(left) == 1 and all(o.sense is Sense.DENIED for o in found) else None
        )
    by_text = any_text.sub(lambda match: f"({match.lastgroup})", text)
    return _decided(by_text, list(mentions(by_text, patterns)), known)


def score_choice(item: Item, said: str) -> Score:
    """What an answer to a question with options is worth; `item.answer` is the right letter."""
    letter = chosen(said, item.options)
    return Score(letter == item.answer, parsed=letter is not None)


def _decided(text: str, found: Sequence[Mention], known: frozenset[str]) -> str | None:
    """The letter that is meant by the strongest mentions of a text."""
    for sense in (Sense.ANNOUNCED, Sense.HEDGED, Sense.NAMED):
        strongest = [
            one
            for one in found
            if one.sense is sense and (sense is Sense.ANNOUNCED or one.letters & known)
        ]
        if not strongest:
            continue
        meant, last = frozenset().union(*(one.letters for one in strongest)), strongest[-1]
        others = [one for one in strongest if one.letters != last.letters]
        if sense is Sense.ANNOUNCED and others and _TURN.search(text, others[-1].end, last.start):
            meant = last.letters
        return min(meant) if len(meant) == 1 and meant <= known else None
    return None


def _plain(text: str) -> str:
    """A text without marks of Markdown and LaTeX, in characters of their usual width."""
    text = unicodedata.normalize("NFKC", text).replace("\\boxed", " Final answer: ")
    return _MARKUP.sub("", text).strip()


def _unlabelled(letter: str, option: str) -> str:
    """The text of an option, without its letter if that stands before it."""
    return re.sub(rf"^\s*\(?{letter}[).:]\s+", "", option)


def _words(text: str) -> str:
    """A text in lower case, without punctuation around and between its words."""
    return " ".join(re.findall(r"[\w'’]+", text.lower()))


def _pattern(words: str) -> re.Pattern[str]:
    """Matches the text of an option in an answer, an article before it included."""
    if not words or re.fullmatch("[a-z]", words):  # nothing, or one that is itself a letter
        return _NEVER
    text = r"[\W_]+".join(map(re.escape, words.split()))
    return re.compile(rf"(?<!\w)(?:(?:an?|the)\s+)?{text}(?!\w|[.,]\d)", re.IGNORECASE)
