"""Scoring rules of lmms-eval 0.7.3 for benchmarks without a judge.

They are exact reimplementations, including oddities, so that figures are comparable. Letters are
ASCII and word ends those of `re`, as in lmms-eval.
docs/evaluate.md lists the oddities that affect figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dycoke_cli.evaluation.dataset import Item, Score

LMMS_EVAL = "lmms-eval"
"""Name of the rule in `--rule`."""

_NOUNS = (
    "answer", "correct answer", "best answer", "correct option", "best option", "choice",
    "correct choice",
)  # fmt: skip
_PHRASES = (
    *(f"{article}{noun} is" for noun in _NOUNS for article in ("", "the ")),
    "my answer is", "my choice is", "i choose", "i select", "i pick", "옵션", "정답은", "답은",
    "답:", "答案是", "答案为", "选", "答えは",
)  # fmt: skip
_ENDS = ",.!?;:'"
_PUNCTUATION = (*';/[]"{}()=+\\_->', *"<@`,?!")


def videomme(item: Item, said: str) -> Score:
    """Video-MME: letter with the highest-ranked form; of equal ranks, the last occurrence."""
    # The spaces make forms such as "A " match at the ends of the text as well.
    text = " " + _stripped(_answer(said), (*_ENDS, '"')) + " "
    candidates: list[tuple[int, int, str]] = []
    for letter in "ABCD":
        forms = (f"({letter})", f"{letter}.", f"{letter}:", f"{letter})", f"{letter} ")
        for rank, form in zip((6, 5, 4, 3, 2), forms, strict=True):
            candidates.append((rank, text.rfind(form), letter))
        for phrase in _PHRASES:
            start = text.lower().find(phrase)
            if start >= 0:  # searched in the original case: "a" after the phrase isn't an option
                candidates.append((7, text.find(letter, start + len(phrase)), letter))
        if re.match(rf"\s*{letter}(?![^\W\d_])", text):
            candidates.append((10, 0, letter))
        if re.search(rf"(?<![^\W\d_]){letter}\s*$", text):
            candidates.append((9, 0, letter))
        candidates.append((0, text.rfind(letter), letter))
    return _letter(item, max((one for one in candidates if one[1] >= 0), default=(0, 0, ""))[2])


def mvbench(item: Item, said: str) -> Score:
    """MVBench: first isolated letter from A to E, including the article "a".

    Empty answers are excluded from the denominator.
    """
    text = _answer(said)
    if not text:
        return Score(False, parsed=False, counted=False)
    if labelled := re.fullmatch(r"([A-Ea-e])\.\s*+.+", text):
        return _letter(item, labelled[1].upper())
    plain = text = re.sub(r"[\n\t]", " ", text).strip()
    # The VQA normalization: a mark next to a space is removed, any other becomes a space.
    for mark in _PUNCTUATION:
        next_to_space = f"{mark} " in text or f" {mark}" in text or re.search(r"\d,\d", text)
        plain = plain.replace(mark, "" if next_to_space else " ")
    plain = re.sub(r"\.(?!\d)", "", plain, count=32)
    plain = _stripped(plain, "'\")(").strip().upper()
    alone = re.search(r"\b[A-E]\b", plain)
    return _letter(item, alone[0] if alone else plain)


def nextqa(item: Item, said: str) -> Score:
    """NExT-QA: last letter; if there is none, the last text of an option.

    lmms-eval otherwise draws one of five letters at random; the score here is the expectation.
    """
    text, letters = f" {_stripped(_answer(said), _ENDS)} ", "ABCDE"
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        named = [letter for letter in letters if form.format(letter) in text]
        if named:
            return _letter(item, _last(named, (text.rfind(place.format(x)) for x in named)))
    if len(text.split()) > 5:
        texts = dict(zip(letters, (option.lower() for option in item.options), strict=True))
        named = [letter for letter in letters if texts[letter] in text.lower()]
        if named:
            return _letter(item, _last(named, (text.lower().rfind(texts[x]) for x in named)))
    return Score(False, parsed=False, value=1 / len(letters))


def perceptiontest(item: Item, said: str) -> Score:
    """Perception Test: first isolated capital from A to D, including the article "A"."""
    alone = re.search(r"\b[A-D]\b", _answer(said))
    return _letter(item, alone[0] if alone else "")


def _letter(item: Item, letter: str) -> Score:
    return Score(letter == item.answer, parsed=re.fullmatch("[A-Z]", letter) is not None)


def _last(named: list[str], places: Iterable[int]) -> str:
    """Letter with the last position; of equal positions the first letter."""
    return max(zip(places, range(0, -len(named), -1), named, strict=True))[2]


def _answer(said: str) -> str:
    """Remove reasoning as lmms-eval does by default."""
    for name in ("think", "analysis"):
        closing = f"</{name}>"
        # Behind the last closing tag each opening one would be searched to the end in vain.
        end = said.rfind(closing) + len(closing) if closing in said else 0
        said = re.sub(f"<{name}>.*?{closing}", "", said[:end], flags=re.DOTALL) + said[end:]
        if f"<{name}>" not in said:
            said = said.rpartition(closing)[2]
    return said.strip()


def _stripped(text: str, marks: Iterable[str]) -> str:
    """Strip marks from both ends, one mark after the other (not as a set, as in lmms-eval)."""
    for mark in marks:
        text = text.strip(mark)
    return text
