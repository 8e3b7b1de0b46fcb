"""Mentions of option letters in an answer, classified by sense; used by `choices`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class Sense(IntEnum):
    """Sense in which letters are named; lower values take precedence."""

    ANNOUNCED = 0
    HEDGED = 1
    NAMED = 2
    DENIED = 3


@dataclass(frozen=True)
class Mention:
    """Mention of a letter, or of several joined by "and", "or" or a comma.

    Args:
        letters: the letters.
        start: start in the text.
        end: end in the text.
        sense: sense of the mention.
    """

    letters: frozenset[str]
    start: int
    end: int
    sense: Sense


# Characters before and after a letter that are searched for its sense.
_CONTEXT = 160

_OPENED, _CLOSED = r"[(\[{\"'“„‟‘‚«‹「『【〔〈《<]*", r"[)\]}\"'”’“‘»›」』】〕〉》>]*"
_NOUNS = r"(?:options?|choices?|letters?|answers?)"

# Between two letters, short words of other languages mean "and" and "or", too.
_AND = r"(?:and|or|nor|et|ou|und|oder|[yeoui]|lub|albo|oraz|of|en|ve|veya|dan|atau|và|hoặc)"
# "A" before a lower-case word is an article, unless no noun phrase begins with that word (this
# list). So are other words of one letter in European languages ("o homem", "y la", "w domu"). "I"
# is a pronoun unless it is a label ("I.", "I)").
_NO_NOUN = (
    r"(?:(?:and|or|nor|but|is|isn|was|wasn|are|because|as|since|seems?|appears?|would|should|must|does"
    r"|doesn|did|didn|has|had|cannot|the|this|that|these|it|he|she|they|there|we|you|due|with|in|on"
    r"|at|for|from|to|if|then|than|rather|instead|not|also|which|where|while|according|based"
    r"|shows?|describes|depicts|matches|fits|mentions|says|states|claims|suggests)\b"
    r"|(?:correct|wrong|right|true|false|option)\s*(?:[.,;:!?]|$)"
    rf"|{_AND}\s+[A-Z]\b)"
)
_ARTICLE = (
    rf"A\s+(?!{_NO_NOUN})(?![A-Z\d_])\w"
    r"|[OUWYZ]\s+(?!(?:is|isn|was|because)\b)(?![A-Z\d_])\w"
    r"|E\s+(?:the|os?|as?|il|la|le|un|una|um|uma|el[ae]|lui|lei)\b"
)
# Initials of persons ("Dr. B") and adjectives ("a C tattoo") are no letters of options.
_LETTER = (
    r"(?<!\w)(?<!\w['’-])(?<!\b[DM]r\. )(?<!\bMs\. )(?<!\bMrs\. )(?!(?<=\ba )[A-Z] [a-z])"
    rf"(?:(?<=[Oo]ption )|(?<=[Cc]hoice )|(?<=[Ll]etter )|(?!{_ARTICLE}))"
    r"(?!I(?![.):\]]))[A-Z]"
    r"(?!\w|['’+-]\w|\.[A-Za-z]\b)"
)
# In "A, B is wrong" the comma starts a clause about B alone, so it doesn't join A and B.
_CLAUSE = (
    rf"(?!\s*,\s*(?:{_NOUNS}\s+)?{_OPENED}[A-Z]{_CLOSED}"
    r"\s+(?:is|was|isn|does|doesn|has|shows|would)\b)"
)
_MAYBE = r"(?:(?:maybe|perhaps|possibly|even|also|could\s+be)\s+)?"
_JOIN = rf"{_CLOSED}{_CLAUSE}\s*+(?:(?:[,/&+]|\b{_AND}\b)\s*+)++{_MAYBE}(?:{_NOUNS}\s+)?{_OPENED}"
_MENTION = re.compile(rf"{_LETTER}(?:(?:{_JOIN}|[ \t]+){_LETTER})*")

# What every phrase before a letter has: a word of two characters, "n't", or an arrow. It is found
# quickly, and a text of many letters without words ("A. A. A. …") needs no other search.
_INTRODUCING = re.compile(r"\w\w|['’]t|[→⇒>]")

# Words allowed between a phrase and its letter ("the answer is most likely option B").
_FILLER = (
    r"(?:(?:the|my|(?-i:an?)|one|most|more|very|best|correct|right|final|only|likely|probably|definitely"
    r"|clearly|certainly|obviously|indeed|simply|therefore|thus|actually|surely|appropriate|accurate"
    r"|suitable|plausible|labell?ed|marked|given|as|by|that|be|is|it|it['’]s|options?|choices?"
    r"|letters?|answers?)\b[\s:,]*)*"
)
_IS = r"(?:is|was|are|['’]s|(?:must|has\s+to|should)\s+be)\b"
_SEEMS = r"(?:is|are|was|were|seems?|looks?|appears?)(?:\s+to\s+be)?"
_ABOUT = r"(?:\s+(?:to|for|of|in|from|that|among|based|according|here|given)\b[^.!?;:\n]{0,80}?)?"
_ANNOUNCING = re.compile(
    r"(?:\b(?:answer|ans|choice|option|response|selection|solution|pick|match|fit|guess|verdict"
    r"|(?:correct|right|best|accurate)\s+one)\b"
    rf"{_ABOUT}\s*(?:{_IS}|[:=→⇒–—]|-+>?)[\s:]*"
    r"|\b(?:answer|ans)\b\s*"
    r"|\b(?:choose|chose|pick(?:ed)?|select(?:ed)?|go(?:ing)?\s+with|went\s+with|opt\s+for"
    r"|settle\s+on|say|guess|think|believe|conclude|answer\s+with|leav(?:es|ing)(?:\s+us)?(?:\s+with)?"
    r"|correspond(?:s|ing)?\s+to|match(?:es|ing)?|points?\s+to|supports?|indicat(?:es|ing)"
    r"|consistent\s+with|described\s+(?:by|in)|(?:it|this|that)(?:\s+is|['’]s))\b[\s:,]*"
    r"|\b(?:so|therefore|thus|hence|finally|conclusion|second\s+thoughts?)\b[\s:,]*"
    rf"|(?:[→⇒]|[-=]>)\s*){_FILLER}{_OPENED}$",
    re.I,
)
# Words with which an answer corrects itself, and the end of the clause of a letter that they
# announce: "A. No, B." and "Actually (B)", not "no B is seen" nor "Actually, B shows a car".
_CORRECTING = re.compile(
    r"\b(?:(?:wait|actually|sorry|oops|hmm+|correction|corrected|scratch\s+that|i\s+mean(?:t)?|rather"
    r"|make\s+(?:it|that)|instead|better|on\s+(?:reflection|second\s+thought)|in\s+fact|no(?=\s*[,.:;!–—-]|\s+wait|\s+actually))\b[\s,.:;!–—-]*)+"
    rf"(?:but\s+)?{_FILLER}{_OPENED}$",
    re.I,
)
_ENDS_CLAUSE = re.compile(
    rf"{_CLOSED}\s*(?:[.,;:!)。،]|\n|$|(?:because|since|as|for|is\s+it)\b)", re.I
)
_OR_MAYBE = re.compile(
    rf"\bor\s+(?:maybe|perhaps|possibly|(?:it\s+)?(?:could|might|may)\s+be)\b[\s,:]*{_FILLER}{_OPENED}$",
    re.I,
)
_HEDGING = re.compile(
    r"\b(?:(?:would|could|might|may|can)(?:\s+(?:also|have))?\s+be(?:en)?|maybe|perhaps|possibly)\b"
    rf"[\s:,]*{_FILLER}{_OPENED}$",
    re.I,
)
_DENYING = re.compile(
    r"(?:\b(?:not|cannot|never|neither|nor|ni|né|nem|ani|rather\s+than|instead\s+of|unlike|except|than|others?"
    r"|(?:exclud|eliminat|reject|discard|dismiss)\w+|(?:rul|cross)\w*\s+out)\b|n['’]t\b"
    r"|(?<!is )(?<!was )(?<!are )\b(?:wrong|incorrect)\b:?)[\s(]*"
    rf"(?:(?:choose|pick|select|go\s+with|think|believe|say|ones?)\b[\s:,]*)?{_FILLER}{_OPENED}$",
    re.I,
)
_PRAISED = re.compile(
    rf"{_CLOSED}(?:[\s:–—-]*(?:(?:{_SEEMS}|(?:must|should|has\s+to)\s+be)\s+(?:\w+ly\s+)?(?:the\s+)?"
    r"(?:(?:most|only|best|single|more)\s+)*(?:correct|right|best|true|accurate|answer|plausible"
    r"|likely|suitable|appropriate|supported|one|option|choice|match|fit|closest|valid)\b"
    r"|(?:best\s+|correctly\s+|accurately\s+)?(?:describes|matches|fits|answers|reflects|captures)\b"
    r"|it\s+is\b|[✓✔✅])"
    r"|[\s.:–—-]*(?:correct|right|true)\b(?!\s+\w))",
    re.I,
)
_BLAMED = re.compile(
    rf"{_CLOSED}(?:[\s:–—-]*(?:{_SEEMS}\s+(?:all\s+|both\s+|also\s+|\w+ly\s+)*"
    r"(?:not|wrong|incorrect|false|impossible|unlikely|implausible|irrelevant|unrelated|inaccurate"
    r"|invalid|out|ruled|eliminated|excluded|contradicted|unsupported|never|missing|absent)\b"
    r"|(?:is|are|was|were|do|does|did|can|could|would|has|have)n['’]t\b|cannot\b|can['’]t\b"
    r"|(?:do|does|did|can|could|would|has|have|should)\s+(?:also\s+)?not\b"
    r"|(?:never|fails?|contradicts?|miss(?:es)?|lacks?|ignores?)\b|[❌✗✘])"
    r"|[\s.:–—-]*(?:(?:wrong|incorrect|false)\b|not\s+(?:correct|right|true|shown|seen"
    r"|supported|mentioned|possible|visible|present|in\s+the\s+video)\b))",
    re.I,
)
_ASKED = re.compile(rf"{_CLOSED}\s*\?(?!\s*(?:yes|correct)\b)", re.I)
_LEADING = re.compile(rf"[\W_]*+(?:{_NOUNS}\b[\W_]*+)?", re.I)
_SEPARATOR = re.compile(r"[\W_]*+")
_LABEL = re.compile(rf"{_LETTER}[.):]\s*+")
_WORD = re.compile(r"\w")

# Lower-case letters in contexts where they can't be a word.
_SMALL = re.compile(
    r"(?<![\w'’])[(\[{]\s*[a-z]\s*[)\]}]"
    r"|^\W*[a-z](?=\s*(?:[).:\];–—-](?![a-z]\.|[a-z]-)|\n|$)|,?\s+(?:because|since)\b)"
    rf"|\b(?:{_NOUNS}(?:\s+(?:is|was|would\s+be))?|(?:it|that)(?:\s+is|['’]s)|pick|choose|select"
    rf"|go\s+with)\s*+:?\s*+{_OPENED}(?:[b-hj-z]|a(?=\W*$|\s*[).:,;]|\s+{_NO_NOUN}))(?![\w'’-])",
    re.I,
)


def capitalized(text: str) -> str:
    """Capitalize option letters: "(b)", "b. a dog", "the answer is b"."""
    return _SMALL.sub(
        lambda match: re.sub(r"\w(?=\W*$)", lambda letter: letter[0].upper(), match[0]), text
    )


def mentions(text: str, options: re.Pattern[str]) -> Iterator[Mention]:
    """Find the mentions of letters in a text, except those in questions ("B?").

    Args:
        text: result of `capitalized`.
        options: pattern of the options' texts; the group that matches is named by the letter.
    """
    listing = _is_listing(text, options)
    for number, match in enumerate(_MENTION.finditer(text)):
        letters = frozenset(re.findall(_LETTER, match[0]))
        start, end = match.span()
        verdict = _own_text_end(text, end, min(letters), options) if len(letters) == 1 else end
        # No letter leads after another one, and the first letter of a repeated list of options
        # isn't the answer.
        leads = (
            number == 0
            and not listing
            and len(letters) == 1
            and _LEADING.fullmatch(text, 0, start) is not None
        )
        sense = _sense(text, start, verdict, leads=leads)
        if sense is not None:
            yield Mention(letters, start, end, sense)


def _sense(text: str, start: int, end: int, *, leads: bool) -> Sense | None:
    """Sense of a mention; None in a question.

    Args:
        text: with the mention.
        start: start of the mention.
        end: end of the mention and of the option's text behind it.
        leads: whether the mention begins the text.
    """
    near, behind = text[max(0, start - _CONTEXT) : start], text[end : end + _CONTEXT]
    introduced = _INTRODUCING.search(near) is not None
    if (introduced and _DENYING.search(near)) or _BLAMED.match(behind):
        return Sense.DENIED
    if introduced and _OR_MAYBE.search(near):
        return Sense.ANNOUNCED
    if introduced and _HEDGING.search(near):
        return Sense.HEDGED
    if _ASKED.match(behind):
        return None
    if introduced and corrects(text, start) and _ENDS_CLAUSE.match(behind):
        return Sense.ANNOUNCED
    if (introduced and _ANNOUNCING.search(near)) or _PRAISED.match(behind):
        return Sense.ANNOUNCED
    if leads:
        return Sense.ANNOUNCED
    return Sense.NAMED


def corrects(text: str, end: int) -> bool:
    """Whether a text up to `end` ends with words that take an answer back for another."""
    return _CORRECTING.search(text[max(0, end - _CONTEXT) : end]) is not None


def _own_text_end(text: str, end: int, letter: str, options: re.Pattern[str]) -> int:
    """End of "B. Blue star", where a verdict about the option would be ("… is wrong").

    Args:
        text: with a mention of the letter.
        end: end of the mention; returned if the option's text doesn't follow it.
        letter: of the option.
        options: pattern of the options' texts.
    """
    separator = _SEPARATOR.match(text, end)
    own = options.match(text, separator.end()) if separator else None
    return own.end() if own and own.lastgroup == letter else end


def _is_listing(text: str, options: re.Pattern[str]) -> bool:
    """Whether a text lists the options from A and B on, rather than leading with its answer."""
    labels: list[str] = []
    seen, begins_line = 0, True
    for match in _LABEL.finditer(text):
        own = options.match(text, match.end())
        line = max(seen, text.rfind("\n", seen, match.start()) + 1)
        begins_line = (begins_line or line > seen) and not _WORD.search(text, line, match.start())
        if (own and own.lastgroup == match[0][0]) or begins_line:
            labels.append(match[0][0])
            if len(labels) == 2:
                break
        seen, begins_line = match.start(), False
    return labels == ["A", "B"]
