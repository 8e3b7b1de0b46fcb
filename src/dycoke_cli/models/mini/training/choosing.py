"""The lesson on letters: at the end of each option which letter it has, and whether it is the one.

Telling true options from false ones is one thing, handing the right one's letter on another: with
both at the same token, a single look back from the answer finds it.
"""

from __future__ import annotations

from dycoke_cli.shapes.questions.question import Question
from dycoke_cli.shapes.questions.wordings import OPTIONS

# The option's own letter, and that letter again where the option is right; 0 for none.
CHOSEN = (len(OPTIONS) + 1, len(OPTIONS) + 1)
THE_RIGHT_ONE = slice(1, 2)
NOT_CHOSEN = (0,) * len(CHOSEN)


def chosen(question: Question, ends: list[int]) -> dict[int, tuple[int, ...]]:
    """Token of the question -> the letter of the option that ends there, see CHOSEN.

    Args:
        question: what is asked; anything but a question with options has none.
        ends: last token of each of its claims, in the order of the claims.
    """
    if question.kind != "letter":
        return {}
    return {
        end: (number, number if claim.true else 0)
        for number, (claim, end) in enumerate(zip(question.claims, ends, strict=True), start=1)
    }
