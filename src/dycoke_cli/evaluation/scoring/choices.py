"""Multiple-choice scoring: the option that a free-form answer chooses, by its letter or its text.

An answer that chooses no option, or several, is unparsable: it is incorrect, and counted. No letter
is drawn at random, and an article isn't a letter ("a man" isn't option A).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.evaluation.dataset import Item, Score
from dycoke_cli.evaluation.scoring.free_text import UNSPACED, comparable

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Characters of an answer that are read: its beginning and its conclusion. And around a letter.
_FIRST, _LAST, _NEAR = 2000, 6000, 80
_MARKUP = re.compile(
    r"\\(?:text|mathrm|mathbf|textbf)\b|[*`$#\\]|</?[a-z]+>|(?<![^\W_])_|_(?![^\W_])"
)
_ALONE = re.compile(r"[\W_]*(?:(?:the|answer|option|choice|letter|is)\b[\W_]*)*([a-z])[\W_]*", re.I)
# Letters in lower case, where they can't be a word: "(b)", "b. a dog", "the answer is b".
_SMALL = re.compile(
    r"[(\[{]\s*[a-z]\s*[)\]}]|^\W*[a-z](?=[.):](?!\w))"
    r"|\b(?:is|answer|option|choice|letter)\b\W*[a-z](?=[.,;:)]|\W*(?:$|\n))"
)

# Around a letter: no other Latin letter ("Bです" is one), and no apostrophe or hyphen ("C-rich").
_LATIN = r"A-Za-z0-9_\u00c0-\u024f"
# A vowel before a word in lower case is a word ("A man", "I see", "O homem"), unless that word goes
# on about a letter, or another letter follows ("A or B").
_WORD = (
    r"(?![AEIOUY]\s+(?!(?:is|isn|was|are|and|but|because|since|as|rather|best|matches|fits|describes"
    r"|seems|would)\b|\w+\s+[A-Z]\b)[a-z])"
)
_LETTER = rf"(?<![{_LATIN}])(?<!\w['’-]){_WORD}[A-Z](?![{_LATIN}]|['’+-]\w)"
# Around the letter of an option whose text stood there.
_OPEN, _CLOSE = "〔", "〕"
# A letter, or several that are named together: "A or B", "A. 〔B〕".
_MENTION = re.compile(
    rf"{_LETTER}(?:(?:[^\w\n.?]*+(?:(?:and|or|options?)\b[^\w\n.?]*+)*+|[^\w\n?]*+(?<={_OPEN}))"
    rf"{_LETTER}(?!\s+(?:is|was)\b))*+"
)
_LABEL = re.compile(r"^[^\w\n]*+([A-Z])[.):]", re.MULTILINE)

# What is in front of an announced letter, and of a denied one.
_ANNOUNCING = re.compile(
    r"(?:\b(?:answer|choice|option|response|selection|solution|one)\b[^.!?\n]{0,40}?"
    r"(?:\b(?:is|are|was|must be|would be|should be)\b|[:=→⇒]|->)|\banswer\b|정답은|답은|답:"
    r"|答案[是为:]|选|答えは|\bI(?:['’]d)?\s+(?:\w+ )?(?:choose|pick|select|go with|say)\b"
    r"|\b(?:it|that)(?:['’]s| is)\b"
    r"|\b(?:leaves|so|therefore|thus|hence|no|wait|actually|sorry|rather|instead|correction|thought"
    r"|I mean|make (?:it|that)|scratch that)\b)[\W_]*"
    r"(?:\b(?:the|most|very|more|likely|probably|definitely|clearly|best|correct|right|final|given|by"
    r"|be|options?|choices?|letters?|answers?|it|that|is)\b[\W_]*)*+$",
    re.I,
)
_DENYING = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|except|excluding|excludes?|than|instead of|unlike"
    r"|rul\w+ out|eliminat\w+|reject\w*|(?:everything|anything|all) but)\b|n['’]t\b)"
    r"(?:\s+(?:the|be|likely|choose|options?|choices?|letters?|answers?|think|it|is)\b)*+\W{0,3}$",
    re.I,
)
# What is behind them.
_PRAISED = re.compile(
    r"[\W_]*(?:(?:is|seems|looks|must be)\s+(?:\w+ly\s+)?(?:the\s+)?(?:most\s+|best\s+)?(?:correct"
    r"|right|best|true|answer|one|accurate|likely|plausible)\b|(?:correct|right)\b(?!\s+\w))",
    re.I,
)
_BLAMED = re.compile(
    r"[\W_]*(?:which\s+)?(?:(?:is|are|was|were|do|does|did|can|could|has|have|seems?)"
    r"(?:n['’]t\b|\s+(?:\w+ly\s+|both\s+|also\s+|all\s+)*(?:not|wrong|incorrect|false|impossible"
    r"|irrelevant|unlikely|ruled out|out|eliminated|contradicted)\b)|(?:wrong|incorrect|cannot"
    r"|can['’]t)\b)",
    re.I,
)
_ARTICLES = "a an the un une le la les ein eine der die das el los las il lo o os um uma de het een"


def lettered(options: Sequence[str], form: str = "{}. {}") -> str:
    """Format options, one per line with its letter."""
    return "\n".join(form.format(LETTERS[i], option) for i, option in enumerate(options))


def score_choice(item: Item, said: str) -> Score:
    """Score an answer to a multiple-choice question; `item.answer` is the correct letter."""
    letter = chosen(said, item.options)
    return Score(letter == item.answer, parsed=letter is not None)


def chosen(said: str, options: Sequence[str]) -> str | None:
    r"""Letter of the chosen option; None if the answer chooses none, or several.

    A letter alone is the answer. Otherwise an option's text counts as its letter, and the last
    letter that is announced is the answer, as in lmms-eval: "B. A dog", "the answer is B",
    "\boxed{B}", "B is correct", a last line. If none is announced, it is the only letter that is
    named and not denied. Reasoning is removed (`thinking.answer_of`); of more than 8,000 characters
    the first 2,000 and the last 6,000 are read, so that no answer takes long.
    """
    valid = {*LETTERS[: len(options)]}
    text = _plain(answer_of(said))
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper() if alone[1].upper() in valid else None
    text = _SMALL.sub(lambda match: match[0][:-2] + match[0][-2:].upper(), text)
    text = _texts(tuple(options)).sub(lambda match: f"{_OPEN}{match.lastgroup}{_CLOSE}", text)
    lists_options = {"A", "B"} <= {*_LABEL.findall(text)}
    announced: list[set[str]] = []
    named: set[str] = set()
    denied: set[str] = set()
    for match in _MENTION.finditer(text):
        letters = {*re.findall(_LETTER, match[0])}
        before = text[max(0, match.start() - _NEAR) : match.start()]
        after = text[match.end() : match.end() + _NEAR]
        # "Everything but D is wrong" denies twice.
        if (_DENYING.search(before) is None) == (_BLAMED.match(after) is not None):
            denied |= letters
        elif (
            _ANNOUNCING.search(before)
            or _PRAISED.match(after)
            or (_leads(text, match) and not lists_options)
        ):
            announced.append(letters)
        else:
            named |= letters
    meant = announced[-1] if announced else (named & valid) - denied
    return min(meant) if len(meant) == 1 and meant <= valid else None


def _leads(text: str, match: re.Match[str]) -> bool:
    """Whether letters begin an answer as a label, or are all of its last line."""
    before, after = text[: match.start()], text[match.end() :]
    if not re.search(r"\w", before):
        return bool(re.match(r"[^\w\s?]|\s*(?:\n|$|(?:because|since|as)\b)", after))
    return not re.search(r"\w", before.rpartition("\n")[2]) and not re.search(r"\w", after)


def _plain(text: str) -> str:
    """Comparable text of the beginning and the end, without Markdown, HTML and LaTeX markup."""
    if len(text) > _FIRST + _LAST:
        text = f"{text[:_FIRST]}\n\n{text[-_LAST:]}"
    text = comparable(text).replace("\\boxed", " Final answer: ")
    return _MARKUP.sub("", text).strip()


@lru_cache(maxsize=1024)  # several methods are asked the same questions
def _texts(options: tuple[str, ...]) -> re.Pattern[str]:
    """Pattern of the options' texts; the group that matched is named by the letter.

    A text that two options share, or that is a single letter, identifies neither.
    """
    words = [_words(letter, text) for letter, text in zip(LETTERS, options, strict=False)]
    patterns = {
        letter: rf"(?P<{letter}>{_pattern(text)})"
        for letter, text in zip(LETTERS, words, strict=False)
        if words.count(text) == 1 and not re.fullmatch("[a-z]?", "".join(text))
    }
    # Longer texts first, since one may contain another.
    longest_first = sorted(patterns, key=lambda letter: -len(patterns[letter]))
    return re.compile(
        "|".join(patterns[letter] for letter in longest_first) or "(?!)", re.IGNORECASE
    )


def _words(letter: str, option: str) -> tuple[str, ...]:
    """Words of an option in lower case, without its letter and its article in front."""
    text = re.sub(rf"^\s*[(\[]?{letter}[).:\]]\s+", "", option)
    words = re.findall(r"\w+", comparable(_MARKUP.sub("", text)).lower())
    return tuple(words[1:] if words[1:] and words[0] in _ARTICLES.split() else words)


def _pattern(words: Sequence[str]) -> str:
    text = r"[\W_]+".join(map(re.escape, words))
    article = rf"(?<!\w)(?:(?:{_ARTICLES.replace(' ', '|')})\s+)?"
    # A script without spaces has no ends of words, and a Korean word has endings.
    begin = "" if re.match(f"[{UNSPACED}]", words[0]) else article
    return begin + text + ("" if re.search(f"[{UNSPACED}가-힣]$", words[-1]) else r"(?!\w|[.,]\d)")
