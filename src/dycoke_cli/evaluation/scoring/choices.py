"""Multiple-choice scoring: extraction of the chosen option's letter from a free-form answer.

The letter that leads the answer or is announced counts, whatever the answer says of the others. An
answer that names no option, or several, is unparsable: it is incorrect, and counted. No letter is
drawn at random, and an article isn't a letter ("a man" isn't option A).
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
# Words after which an answer corrects itself or concludes: the letter behind them counts.
_TURN = re.compile(
    r"\b(?:wait|actually|sorry|correction|correcting|no|hmm|second\s+thought|instead|however|but"
    r"|therefore|thus|hence|so|final|finally|conclusion|overall|summary|re-?check\w*|mistake\w*)\b",
    re.I,
)


def lettered(options: Sequence[str], form: str = "{}. {}") -> str:
    """Format options, one per line with its letter."""
    return "\n".join(form.format(LETTERS[i], option) for i, option in enumerate(options))


def chosen(said: str, options: Sequence[str]) -> str | None:
    r"""Letter of the chosen option; None if the answer chooses none, or several.

    Reasoning is removed (`thinking.answer_of`). The first match decides:

    1. the answer is a letter ("B", "(b).", "Option B");
    2. the answer is the text of an option;
    3. a letter leads the answer ("B. A dog", "B, because …") or is announced ("the answer is B",
       "\boxed{B}", "B is correct"); of several the last, if it follows a correction or conclusion
       ("wait", "so the answer is");
    4. a hedged letter ("it could be B");
    5. the only letter named without denial, or the only one not denied ("A and C are wrong");
    6. the only option whose text is in the answer.

    Args:
        said: the answer.
        options: texts of the options, in the order of the letters.
    """
    valid = frozenset(LETTERS[: len(options)])
    text = _plain(answer_of(said))
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper() if alone[1].upper() in valid else None
    # A text that two options share identifies neither.
    texts = [_words(_unlabelled(*one)) for one in zip(LETTERS, options, strict=False)]
    patterns = [_pattern(one) if texts.count(one) == 1 else _NEVER for one in texts]
    if (whole := _words(text)) in texts and whole:
        return LETTERS[texts.index(whole)] if texts.count(whole) == 1 else None
    # Letters within an option's text aren't choices: the C of "Vitamin C", the A of "A red star".
    # Lower case hides them from `mentions`. Longer texts first, since one may contain another.
    any_text = re.compile(
        "|".join(
            f"(?P<{LETTERS[i]}>{patterns[i].pattern})"
            for i in sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        ),
        re.IGNORECASE,
    )
    text = any_text.sub(lambda match: match[0].lower(), capitalized(text))
    named = list(mentions(text, patterns))
    if any(one.letters & valid or one.sense is Sense.ANNOUNCED for one in named):
        denied = frozenset().union(*(one.letters for one in named if one.sense is Sense.DENIED))
        left = valid - denied
        return _decided(text, named, valid) or (
            min(left) if len(left) == 1 and all(o.sense is Sense.DENIED for o in named) else None
        )
    # No letter is named: replace the options' texts by their letters, and apply the same rules.
    by_text = any_text.sub(lambda match: f"({match.lastgroup})", text)
    return _decided(by_text, list(mentions(by_text, patterns)), valid)


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


def _plain(text: str) -> str:
    """Remove Markdown and LaTeX markup, and normalize full-width characters."""
    text = unicodedata.normalize("NFKC", text).replace("\\boxed", " Final answer: ")
    return _MARKUP.sub("", text).strip()


def _unlabelled(letter: str, option: str) -> str:
    """Remove the letter in front of an option's text, if it has one."""
    return re.sub(rf"^\s*\(?{letter}[).:]\s+", "", option)


def _words(text: str) -> str:
    """Normalize a text to lower-case words separated by spaces."""
    return " ".join(re.findall(r"[\w'’]+", text.lower()))


def _pattern(words: str) -> re.Pattern[str]:
    """Pattern of an option's text in an answer, including an article before it."""
    if not words or re.fullmatch("[a-z]", words):  # empty, or indistinguishable from a letter
        return _NEVER
    text = r"[\W_]+".join(map(re.escape, words.split()))
    return re.compile(rf"(?<!\w)(?:(?:an?|the)\s+)?{text}(?!\w|[.,]\d)", re.IGNORECASE)
