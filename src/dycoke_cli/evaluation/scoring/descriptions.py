"""Scores of open-ended answers: exact match, ROUGE-L, and the events of a description."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.evaluation.dataset import Item, Score
from dycoke_cli.evaluation.scoring.comparable_text import bare, split_words

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
