"""Answers, checked against readings of the script that share no code with the maker's."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dycoke_cli.models.mini.questions import KINDS, Question, ask, describe, words
from dycoke_cli.models.mini.world import COLOURS, SHAPES, Script, Thing, draw_script

ROWS = {0: "top", 1: "", 2: "bottom"}
COLUMNS = {0: "left", 1: "", 2: "right"}


def all_questions(count: int, **options) -> list[tuple[Script, Question]]:
    found = []
    for i in range(count):
        script = draw_script([i, 5], "train", still=options.get("still", False))
        found += [(script, q) for q in ask(script, np.random.default_rng(i), **options)]
    return found


def named(script: Script, text: str) -> Thing:
    """The thing that a question names, by the words that it holds."""
    held = set(re.findall(r"\w+", text.lower()))
    [match] = [t for t in script.things if t.shape in held or t.colour in held]
    return match


def place_words(thing: Thing, time: float) -> set[str]:
    """Words for where a thing is, read off its centre in the picture."""
    x, y = thing.centres(np.array([time]))[0]
    column, row = COLUMNS[min(2, int(x * 3))], ROWS[min(2, int(y * 3))]
    return {w for w in (row, column) if w} or {"middle"}


def article(thing: Thing) -> str:
    return "an" if thing.colour[0] in "aeiou" else "a"


def did(thing: Thing) -> str:
    """What a thing did, read off where, whether and how it is seen first and last."""
    ends = np.array([0.0, 1.0])
    (x0, y0), (x1, y1) = np.round(thing.centres(ends), 3)
    seen, colours = thing.visible(ends).tolist(), thing.colours(ends)
    if seen != [True, True]:
        return "appears" if seen[1] else "disappears"
    if colours[0] != colours[1]:
        return f"turns {colours[1]}"
    if (x0, y0) == (x1, y1):
        return "stays still"
    if x0 != x1:
        return "moves to the right" if x1 > x0 else "moves to the left"
    return "moves down" if y1 > y0 else "moves up"


def expected(script: Script, question: Question) -> str | set[str]:
    """The answer (for places: the words that it must hold)."""
    text = question.text.lower()
    late = any(w in text for w in (" end", " last"))
    if question.kind == "count":
        number = len(script.things)
        names = {2: "two", 3: "three"}
        return "There is one object." if number == 1 else f"There are {names[number]} objects."
    if question.kind == "background":
        return f"It is {script.background}."
    if question.kind == "existence":
        named_words = set(re.findall(r"\w+", text)) & {*COLOURS, *SHAPES} - {"shape"}
        colour = named_words & {*COLOURS}
        fits = [t for t in script.things if (colour or named_words) & {t.colour, t.shape}]
        if fits:
            return f"There is {article(fits[0])} {fits[0].colour} {fits[0].shape}."
        [missing] = colour or named_words
        return f"There is no {missing} object." if colour else f"There is no {missing}."
    if question.kind == "description":
        return describe(script)
    thing = named(script, text)
    if question.kind == "colour":
        return f"It is {thing.colours(np.array([1.0 if late else 0.0]))[0]}."
    if question.kind == "shape":
        return f"It is {article(thing)} {thing.colour} {thing.shape}."
    if question.kind == "action":
        return f"The {thing.colour} {thing.shape} {did(thing)}."
    return place_words(thing, 1.0 if late else 0.0)


@pytest.mark.parametrize("still", [False, True])
def test_answers_agree_with_an_independent_reading(still: bool):
    kinds = set()
    for script, question in all_questions(60, still=still):
        kinds.add(question.kind)
        answer = expected(script, question)
        if isinstance(answer, set):
            said = set(re.findall(r"\w+", question.answer)) - {"The", "is", "in", "at", "the"}
            said -= {*COLOURS, *SHAPES}
            assert said == answer, question
        else:
            assert question.answer == answer, question
    assert kinds == set(KINDS) - ({"action", "description"} if still else set())


def test_descriptions_tell_every_thing_in_order_of_colour():
    script = Script(
        "white",
        (
            Thing("star", "blue", 0.15, (0, 0), (0, 0), (0.0, 0.0), "turn", new_colour="green"),
            Thing("cross", "red", 0.15, (2, 0), (2, 2), (0.0, 0.0), "down", 0.1, 0.9),
        ),
    )
    assert describe(script) == (
        "There are two objects on a white background. "
        "The red cross moves down. The blue star turns green."
    )


def test_half_of_what_is_asked_for_is_there():
    there = 0
    for script, question in all_questions(60):
        if question.kind == "existence":
            asked = set(re.findall(r"\w+", question.text.lower())) & {*COLOURS, *SHAPES}
            there += any(asked <= {t.colour, t.shape} for t in script.things)
    assert there == 60


def test_a_thing_is_always_named_without_doubt():
    for script, question in all_questions(60):
        if question.kind in ("colour", "shape", "place", "action"):
            named(script, question.text)


def test_questions_are_written_as_people_write():
    for _, question in all_questions(40):
        assert question.text[0].isupper()
        assert question.text[-1] in "?."
        assert "  " not in question.text
        assert " ?" not in question.text
        assert " a orange" not in question.text


def test_every_word_is_in_the_list():
    known = set(words())
    for _, question in all_questions(60):
        for text in (question.text, question.answer):
            assert set(re.findall(r"\w+|[^\w\s]", text.lower())) <= known


def test_questions_end_even_where_every_colour_is_taken():
    pairs = zip(COLOURS[:3], COLOURS[3:], SHAPES[:3], strict=True)
    things = tuple(
        Thing(shape, old, 0.15, (i, i), (i, i), (0.0, 0.0), "turn", new_colour=new)
        for i, (old, new, shape) in enumerate(pairs)
    )
    for seed in range(60):
        assert ask(Script("black", things), np.random.default_rng(seed))
