"""Text of a caption, made of a model's answer: what is around it is stripped, and words are added.

The rules are for English. Each is tried at the beginning (`_LEADS`, `_SUBJECTS`) or at the end
(`_OFFERS`) of the answer, and none empties it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from dycoke_cli.answer.thinking import answer_of

_JOINERS = "\u200c\u200d"  # of Persian letters and of emoji; the others are invisible and unwanted
_THING = r"(?:video|clip|footage|film|scene|animation|gif|image|picture|photo(?:graph)?|frames?)"
_OF = rf"(?:short |brief )?(?:{_THING} )?{_THING}"
_LEADS = (
    r"(?:sure|certainly|of course|absolutely|okay|ok)\b(?: thing)?[!,.:]\s*",
    r"here(?:'s|’s| is| are)\b[^.:\n]{0,80}:\s*",
    rf"(?:{_THING} )?(?:caption|description|summary|answer|tags|title)\s*:\s*",
)
_VERBS = (
    r"(?:shows?|depicts?|features?|captures?|displays?|presents?|portrays?|showcases?|illustrates?"
    r"|is (?:a shot )?(?:of|about))"
)
_SUBJECTS = (
    rf"(?:in|throughout) (?:the|this) {_OF},?\s+(?:(?:we|you|one)(?: can)? see\s+)?",
    rf"(?:the|this) {_OF} {_VERBS}(?: us)?(?: that)?\s+",
    r"(?:we|you)(?: can)? see\s+",
)
_OFFERS = (
    r"\s*\b(?:let me know|feel free to|i hope (?:this|that)|would you like|is there anything)\b"
    r"[^.!?\n]*[.!?]?\s*\Z"
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "『": "』"}
_MARKERS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|\d{1,2}[.)][ \t]+)+", re.M)
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,2}[.)])[ \t]+")
_FENCE = re.compile(r"^[ \t]*(?:```+|~~~+)[^\n]*$\n?|^[ \t]*(?:[-*_][ \t]*){3,}$\n?", re.M)
_INLINE = (
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)"), r"\1"),
    (re.compile(r"(\*\*|__)(?=\S)([^\n]+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)_(?=[^\s_])([^_\n]+?)(?<=\S)_(?!\w)"), r"\1"),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
)
# An abbreviation, an initial, or a lower-case letter behind it: there no sentence ends.
_END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\b[A-Z])"
    r"[.!?]+[\"'”’)\]]*(?=\s+[^\sa-z]|\s*\Z)|[。！？]+[」』”’]*"
)
_LIST = re.compile(r"[^,.!?。！？\n]{1,40}(?:,[^,.!?。！？\n]{1,40}){2,}")
CHECKING_QUESTION = 'Is this sentence about the video true? "{}" Answer yes or no.'


@dataclass(frozen=True)
class CaptionStyle:
    """How a caption is made of an answer."""

    trigger: str = ""  # put in front with a comma, unless the text begins with it
    prefix: str = ""  # put in front as it is, behind the trigger
    suffix: str = ""  # put at the end as it is
    max_words: int | None = None  # of the model's text; it ends with a sentence, if one is whole
    multiline: bool = False  # whether line ends are kept
    raw: bool = False  # whether what is around the caption is kept

    @property
    def identity(self) -> str:
        """Equal for styles that make the same captions."""
        return json.dumps(asdict(self), sort_keys=True)

    def text(self, said: str, *, is_cut: bool = False) -> str:
        """What an answer says of the video; empty if nothing is left of it.

        Args:
            is_cut: whether the answer ends at the limit of its tokens.
        """
        text = said if self.raw else _stripped(said)
        text = _printable(text, self.multiline)
        if is_cut and not self.raw:
            text = _whole_sentences(text) or text
        return text if self.max_words is None else _limited(text, self.max_words)

    def caption(self, text: str) -> str:
        """The caption of such a text; empty if it is."""
        if not text:
            return ""
        text = f"{self.prefix}{text}{self.suffix}"
        trigger = re.escape(self.trigger)
        if self.trigger and not re.match(rf"{trigger}(?!\w)", text, re.IGNORECASE):
            text = f"{self.trigger}, {text}"
        return text


def sentences(text: str) -> list[str]:
    """The sentences of a text, or the items of a list such as "dog, grass, running".

    Joined they are the text: white space and commas between two belong to the first.
    """
    if _LIST.fullmatch(text.strip()):
        ends = [match.end() for match in re.finditer(r",\s*", text)]
    else:
        ends = [match.end() for match in re.finditer(rf"(?:{_END.pattern})\s*|\n\s*", text)]
    bounds = [0, *ends, len(text)]
    pieces = (text[a:b] for a, b in pairwise(bounds))
    return [piece for piece in pieces if piece]


def without(pieces: Sequence[str], left_out: Collection[int]) -> str:
    """The text of some sentences without those at certain places."""
    text = "".join(piece for i, piece in enumerate(pieces) if i not in left_out)
    return text.rstrip().removesuffix(",")


def checking_question(sentence: str) -> str:
    """The question whether a sentence, or an item of a list, is true; yes or no answers it."""
    return CHECKING_QUESTION.format(sentence.strip().removesuffix(","))


def _stripped(said: str) -> str:
    """The text without thinking, Markdown, quotes, and what is said around a caption."""
    text = _FENCE.sub("", answer_of(said))
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and all(_ITEM.match(line) and line.count(" ") < 6 for line in lines):
        text = ", ".join(_ITEM.sub("", line).strip().rstrip(".,;") for line in lines)
    text = _MARKERS.sub("", text)
    for pattern, inner in _INLINE:
        text = pattern.sub(inner, text)
    return _repeated(text.strip(), _once_stripped)


def _once_stripped(text: str) -> str:
    for pattern in _LEADS:
        text = _without(text, rf"\A{pattern}")
    for first, last in _QUOTES.items():
        inner = text[1:-1]
        if len(text) > 2 and text[0] == first and text[-1] == last and first not in inner:
            text = inner.strip()
    for pattern in _SUBJECTS:
        text = _without(text, rf"\A{pattern}", begins=True)
    return _without(text, _OFFERS)


def _repeated(text: str, change: Callable[[str], str]) -> str:
    """The text after a change that shortens it, until nothing changes."""
    while (changed := change(text)) != text:
        text = changed
    return text


def _without(text: str, pattern: str, *, begins: bool = False) -> str:
    """The text without a match, unless nothing would be left."""
    rest = re.sub(pattern, "", text, count=1, flags=re.IGNORECASE).strip()
    if not rest or rest == text:
        return text
    return rest[0].upper() + rest[1:] if begins else rest


def _printable(text: str, multiline: bool) -> str:
    """The text without control characters, and with single spaces."""
    lines = text.splitlines() if multiline else [text]
    clean = (" ".join(line.split()) for line in lines)
    kept = ("".join(c for c in line if c.isprintable() or c in _JOINERS) for line in clean)
    return "\n".join(kept).strip()


def _whole_sentences(text: str) -> str:
    """The sentences that have an end; empty if none has."""
    ends = [match.end() for match in _END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def _limited(text: str, words: int) -> str:
    """So many words at most, and whole sentences if one is whole."""
    found = [*re.finditer(r"\S+", text)]
    if len(found) <= words:
        return text
    short = text[: found[words - 1].end()]
    return _whole_sentences(short) or short.rstrip(",;: ")
