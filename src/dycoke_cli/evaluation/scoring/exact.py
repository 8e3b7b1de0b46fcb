"""Short free answers: the same words, or wrong."""

from __future__ import annotations

from dycoke_cli.evaluation.dataset import Item, Score
from dycoke_cli.evaluation.scoring.thinking import answer_of


def exact_match(item: Item, said: str) -> Score:
    """Whether an answer has the words of the correct one, whatever their case.

    White space and punctuation at the ends don't count; an answer without a word isn't understood.
    """
    answer = _bare(answer_of(said))
    return Score(answer == _bare(item.answer), parsed=bool(answer))


def _bare(text: str) -> str:
    """A text in lower case, without white space and punctuation at its ends."""
    return " ".join(text.lower().split()).strip(" .,;:!?\"'`*")
