"""Scoring of answers: the option they choose, equal texts, and descriptions.

An answer that chooses no option, or several, is unparsable: it is incorrect, and counted. No letter
is drawn at random, and an article isn't a letter ("a man" isn't option A).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.evaluation.dataset import Item, Score

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
_BEFORE = (
    r"(?![AEIOUY]\s+(?!(?:is|isn|was|are|and|but|because|since|as|rather|best|matches|fits|describes"
    r"|seems|would)\b|\w+\s+[A-Z]\b)[a-z])"
)
_LETTER = rf"(?<![{_LATIN}])(?<!\w['’-]){_BEFORE}[A-Z](?![{_LATIN}]|['’+-]\w)"
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


LINK = re.compile(r"\b(?:first|then|finally)\b\s*|[.,]", re.IGNORECASE)


def exact_match(item: Item, said: str) -> Score:
    """Exact match of a short answer, ignoring case, and white space and punctuation at the ends.

    An answer without a word is unparsable.
    """
    answer = bare(answer_of(said))
    return Score(answer == bare(item.answer), parsed=bool(answer))


def events(description: str) -> list[str]:
    """Split "First …, then …, finally …." into its events, in order, in lower case."""
    parts = (" ".join(LINK.sub(" ", part).split()) for part in description.split(","))
    return [part.lower() for part in parts if part]


def share_told(right: str, said: str) -> float:
    """Fraction of the reference's events that an answer mentions, in any order."""
    reference = Counter(events(right))
    return sum((reference & Counter(events(said))).values()) / max(1, reference.total())


def share_in_order(right: str, said: str) -> float:
    """Fraction of the reference's events mentioned in order (longest common subsequence)."""
    reference, mentioned = events(right), events(said)
    return _longest_common(reference, mentioned) / max(1, len(reference))


def rouge_l(right: str, said: str) -> float:
    """ROUGE-L F1 of two texts: words in lower case, without stemming.

    It is the harmonic mean of recall and precision of the longest common subsequence of words; in
    scripts without spaces each character is a word.
    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, with beta = 1.
    """
    reference, answer = split_words(right), split_words(said)
    return 2 * _longest_common(reference, answer) / max(1, len(reference) + len(answer))


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    # Row by row of the usual table: longest[i] is for the words of `first` so far and second[:i].
    longest = [0] * (len(second) + 1)
    for one in first:
        before = longest.copy()
        for i, other in enumerate(second):
            longest[i + 1] = before[i] + 1 if one == other else max(before[i + 1], longest[i])
    return longest[-1]
