"""Auxiliary targets of single text tokens: what a probe should read off a question or an answer.

Which thing a name in the subtitles means; which of the clip's events a question names, and which
one each word of the answer tells (what comes before, after, first and last is mixed up with its
neighbours unless the model counts); and at the end of each option which letter it has, and whether
it is the correct one: telling true options from false ones is one thing, handing the correct one's
letter on another, and with both at the same token the answer finds it in one step of attention.
"""

from __future__ import annotations

import re
from itertools import accumulate, pairwise

from dycoke_cli.shapes.script import COLOURS, NAMES, SHAPES
from training.tokenizer import WORD, Codec
from training.world.script_questions import OPTIONS, ScriptQuestion

# Name, colour and shape of the thing; 0 for none.
NAMED = (len(NAMES) + 1, len(COLOURS) + 1, len(SHAPES) + 1)
UNNAMED = (0,) * len(NAMED)
# The option's own letter, and that letter again where the option is right; 0 for none.
CHOSEN = (len(OPTIONS) + 1, len(OPTIONS) + 1)
THE_RIGHT_ONE = slice(1, 2)
NOT_CHOSEN = (0,) * len(CHOSEN)
# 0 for no event, else its number from 1 on.
PLACES = 7
# Kinds whose answer tells one event, by itself or as an option.
ONE_EVENT = ("order", "letter", "follow-up", "direction")
# What each clause of a description begins with.
OPENING = ("First", "then", "finally")


def placed(question: ScriptQuestion, events: list[str], codec: Codec) -> dict[int, int]:
    """Where an event is named to its end: token of the question -> number of the event.

    Args:
        events: the clip's events in order, as clauses; one that is told twice has no one number.
    """
    found: dict[int, int] = {}
    texts = [*(t for turn in question.earlier for t in turn), question.text]
    for i, text in enumerate(texts):
        shift = codec.before(texts[:i])
        for number, event in _once(events):
            for said in re.finditer(rf"\b{re.escape(event)}\b", text.lower()):
                found[shift + len(codec.text(text[: said.end()])) - 1] = number
    return found


def sought(question: ScriptQuestion, events: list[str], codec: Codec) -> list[int]:
    """For each token of the answer the number of the event that it tells; 0 where it tells none.

    The same where the answer tells one event. A description tells all, clause by clause.
    """
    if question.kind == "description":
        words = [*re.finditer(WORD, question.answer)]
        begun = accumulate(word[0] in OPENING for word in words)
        # One clause alone has no such word; the last one has the end with it.
        numbers = [max(number, min(1, len(events))) for number in begun]
        ends = [len(codec.answer(question.answer[: word.end()])) - 1 for word in words]
        sizes = [end - before for before, end in pairwise([0, *ends])]
        sizes[-1] += 1
        return [n for n, size in zip(numbers, sizes, strict=True) for _ in range(size)]
    return [_told(question, events)] * len(codec.answer(question.answer))


def _told(question: ScriptQuestion, events: list[str]) -> int:
    if question.kind not in ONE_EVENT:
        return 0
    right = [c.text for c in question.claims if c.true] if question.kind == "letter" else []
    told = (right or [question.answer])[0].lower().removesuffix(".")
    return next((number for number, event in _once(events) if event == told), 0)


def _once(events: list[str]) -> list[tuple[int, str]]:
    lowered = [event.lower() for event in events]
    return [(i + 1, event) for i, event in enumerate(lowered) if lowered.count(event) == 1]


def namings(question: ScriptQuestion, codec: Codec) -> dict[int, tuple[int, ...]]:
    """Where a name's thing is settled: token of the question -> (name, colour, shape), see NAMED.

    That is the last word of the sentence that names the thing, the name wherever it is used behind
    the subtitles, and the last token of the prompt, where the answer begins. Empty for a question
    without subtitles.
    """
    if question.kind != "subtitles":
        return {}
    subtitles, _, asked = question.text.rpartition("\n")
    found, meant = {}, {}

    def token(end: int) -> int:
        return len(codec.text(question.text[:end])) - 1

    for sentence in re.finditer(r"[^.]+", subtitles):
        words = {m[0]: m for m in re.finditer(r"\w+", sentence[0])}
        told = [next((w for w in words if w in group), "") for group in (NAMES, COLOURS, SHAPES)]
        if all(told):
            facts = tuple(
                group.index(w) + 1 for group, w in zip((NAMES, COLOURS, SHAPES), told, strict=True)
            )
            meant[told[0]] = facts
            found[token(sentence.start() + max(words[w].end() for w in told))] = facts
    for word in re.finditer(r"\w+", asked):
        if word[0] in meant:
            found[token(len(subtitles) + 1 + word.end())] = meant[word[0]]
            found[len(codec.question(question.text)) - 1] = meant[word[0]]
    return found


def chosen(question: ScriptQuestion, ends: list[int]) -> dict[int, tuple[int, ...]]:
    """Token of the question -> the letter of the option that ends there, see CHOSEN.

    Args:
        question: what is asked; anything but a question with options has none.
    """
    if question.kind != "letter":
        return {}
    return {
        end: (number, number if claim.true else 0)
        for number, (claim, end) in enumerate(zip(question.claims, ends, strict=True), start=1)
    }
