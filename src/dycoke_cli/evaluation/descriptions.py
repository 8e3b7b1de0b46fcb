"""Partial scores of a description: events named, and named in the right order."""

from __future__ import annotations

import re
from collections import Counter

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
    longest = [0] * (len(told) + 1)
    for event in wanted:
        before = longest.copy()
        for i, other in enumerate(told):
            longest[i + 1] = before[i] + 1 if event == other else max(before[i + 1], longest[i])
    return longest[-1] / max(1, len(wanted))
