"""Partial scores of a description: events or words named, and named in the right order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

LINK = re.compile(r"\b(?:first|then|finally)\b\s*|[.,]", re.IGNORECASE)


def events(description: str) -> list[str]:
    """The events of "First …, then …, finally ….", in order, in lower case."""
    parts = (" ".join(LINK.sub(" ", part).split()) for part in description.split(","))
    return [part.lower() for part in parts if part]


def share_told(right: str, said: str) -> float:
    """Fraction of the reference's events that are named, in any order."""
    wanted = Counter(events(right))
    return sum((wanted & Counter(events(said))).values()) / max(1, wanted.total())


def share_in_order(right: str, said: str) -> float:
    """Fraction of events named in the right order: the longest common subsequence."""
    wanted, told = events(right), events(said)
    return _longest_common(wanted, told) / max(1, len(wanted))


def rouge_l(right: str, said: str) -> float:
    """ROUGE-L F1 of two texts: words in lower case, without stemming.

    The harmonic mean of the shares of the words of each that their longest common subsequence has.
    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, with beta = 1.

    Args:
        right: the reference.
        said: the answer.
    """
    wanted, told = _words(right), _words(said)
    return 2 * _longest_common(wanted, told) / max(1, len(wanted) + len(told))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _longest_common(wanted: Sequence[str], told: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    longest = [0] * (len(told) + 1)
    for one in wanted:
        before = longest.copy()
        for i, other in enumerate(told):
            longest[i + 1] = before[i] + 1 if one == other else max(before[i + 1], longest[i])
    return longest[-1]
