"""The lesson on places in time: which of the clip's events a question speaks of, and which each
word of the answer tells.

What comes before, after, first and last is mixed up with its neighbours unless the model counts.
"""

from __future__ import annotations

import re
from itertools import accumulate

from dycoke_cli.models.mini.training.tokenizer import WORD, Codec
from dycoke_cli.shapes.questions.question import Question

# 0 for no event, else its number from 1 on.
PLACES = 7
# Kinds whose answer tells one event, by itself or as an option.
ONE_EVENT = ("order", "letter", "follow-up", "direction")
# What each clause of a description begins with.
OPENING = ("First", "then", "finally")


def placed(question: Question, events: list[str], codec: Codec) -> dict[int, int]:
    """Where an event is named to its end: token of the question -> number of the event.

    Args:
        question: what is asked.
        events: the clip's events in order, as clauses; one that is told twice has no one number.
        codec: of the question's tokens.
    """
    found: dict[int, int] = {}
    asked, shift = [*(t for turn in question.earlier for t in turn), question.text], 0
    for text in asked:
        for number, event in _once(events):
            for said in re.finditer(rf"\b{re.escape(event)}\b", text.lower()):
                found[shift + len(codec.text(text[: said.end()])) - 1] = number
        # Between two turns stand the end, the start and the role.
        shift += len(codec.text(text)) + 3
    return found


def sought(question: Question, events: list[str]) -> list[int]:
    """For each token of the answer the number of the event that it tells; 0 where it tells none.

    The same where the answer tells one event. A description tells all, clause by clause.
    """
    words = re.findall(WORD, question.answer)
    if question.kind == "description":
        begun = accumulate(word in OPENING for word in words)
        # One clause alone has no such word; the last one has the end with it.
        numbers = [max(number, min(1, len(events))) for number in begun]
        return [*numbers, numbers[-1]]
    return [_told(question, events)] * (len(words) + 1)


def _told(question: Question, events: list[str]) -> int:
    if question.kind not in ONE_EVENT:
        return 0
    right = [c.text for c in question.claims if c.true] if question.kind == "letter" else []
    told = (right or [question.answer])[0].lower().removesuffix(".")
    return next((number for number, event in _once(events) if event == told), 0)


def _once(events: list[str]) -> list[tuple[int, str]]:
    lowered = [event.lower() for event in events]
    return [(i + 1, event) for i, event in enumerate(lowered) if lowered.count(event) == 1]
