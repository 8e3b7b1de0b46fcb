"""Questions in words: what one is, how events are told, and how each kind of question is put.

Every word that can occur comes from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dycoke_cli.shapes.script import (
    COLOURS,
    DIGITS,
    DIRECTIONS,
    GLYPHS,
    NAMES,
    SHAPES,
    SIDES,
    Event,
    Script,
)

KINDS = (
    "description", "order", "action", "direction", "position", "colour", "shape", "count",
    "existence", "needle", "letter", "subtitles", "follow-up", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Something that a question says of the video."""

    text: str  # a stretch of the question, word for word
    true: bool  # whether it is so


@dataclass(frozen=True)
class Question:
    """A question and its one right answer."""

    kind: str  # one of KINDS
    text: str  # as a person types it, with the options and subtitles that belong to it
    answer: str  # the right answer, to the letter
    claims: tuple[Claim, ...] = ()  # what the question says of the video, in the order of the text
    # questions and answers about the same video that came before
    earlier: tuple[tuple[str, str], ...] = ()


# {w} is the way (a direction or a side), {c} a colour, {o} another thing.
VERBS = {
    "enter": "enters from the {w}", "leave": "leaves to the {w}", "move": "moves {w}",
    "bounce": "bounces", "spin": "spins", "grow": "grows", "shrink": "shrinks",
    "hit": "hits the {o}", "hide": "hides behind the {o}", "turn": "turns {c}",
}  # fmt: skip
SHOWN = "is shown"
STAYS = "stays still"
UNKNOWN = "I only know moving shapes."
# {m} is what the subtitles call a thing.
NAMED = ("{m} is the {n}.", "Look, {m} is the {n}.", "I call the {n} {m}.")


def named(script: Script, index: int, time: float = 0.0) -> str:
    """A thing by the colour it has at that time and its shape: "red circle"."""
    thing = script.things[index]
    turned = [e for e in script.events if e.thing == index and e.deed == "turn"]
    colour = turned[0].colour if turned and turned[0].finish <= time else thing.colour
    return f"{colour} {thing.shape}"


def subject(script: Script, event: Event) -> str:
    """Who does it: "the red circle", or what is shown: "the digit 7"."""
    if event.deed == "show":
        return f"the {'digit' if event.glyph in DIGITS else 'letter'} {event.glyph}"
    return f"the {named(script, event.thing, event.begin)}"


def predicate(script: Script, event: Event) -> str:
    """What it does: "moves up"."""
    if event.deed == "show":
        return SHOWN
    other = named(script, event.other, event.begin) if event.other >= 0 else ""
    return VERBS[event.deed].format(w=event.way, c=event.colour, o=other)


def told(script: Script, event: Event) -> str:
    """An event as a clause: "the red circle moves up"."""
    return f"{subject(script, event)} {predicate(script, event)}"


def deeds_of(script: Script, index: int) -> str:
    """All that a thing does, in order: "moves up, then turns green"; or that it stays still."""
    mine = [predicate(script, e) for e in script.events if e.thing == index]
    return ", then ".join(mine) if mine else STAYS


def in_order(clauses: list[str]) -> str:
    """Clauses as one sentence: "First …, then …, finally …."."""
    if len(clauses) == 1:
        return sentence(clauses[0])
    middle = [f"then {clause}" for clause in clauses[1:-1]]
    return sentence(", ".join([f"first {clauses[0]}", *middle, f"finally {clauses[-1]}"]))


def sentence(clause: str) -> str:
    """A clause with a capital and a full stop."""
    return f"{capital(clause)}."


def capital(text: str) -> str:
    """A text with a capital, its other letters as they are."""
    return text[0].upper() + text[1:]


def alone_in_shape(script: Script, index: int) -> bool:
    """Whether its shape alone names a thing."""
    shapes = [thing.shape for thing in script.things]
    return shapes.count(shapes[index]) == 1


def article(name: str) -> str:
    """A thing's name with its article: "a red circle", "an orange star"."""
    return f"{'an' if name.startswith('orange') else 'a'} {name}"


def subtitles(script: Script) -> list[str]:
    """The lines of a clip's subtitles: what they call its things."""
    return [
        NAMED[(script.seed + i) % len(NAMED)].format(m=name, n=named(script, index))
        for i, (name, index) in enumerate(script.names)
    ]


NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
NOUNS = ("object", "shape", "thing")
PLACES = {
    (0, 0): "at the top left", (1, 0): "at the top", (2, 0): "at the top right",
    (0, 1): "at the left", (1, 1): "in the middle", (2, 1): "at the right",
    (0, 2): "at the bottom left", (1, 2): "at the bottom", (2, 2): "at the bottom right",
}  # fmt: skip
# {n} names a thing, {e} tells an event, {a} is a thing with its article, {l} lists subtitles.
WORDINGS = {
    "description": (
        "What happens in the video?", "Describe the video.", "What happens?",
        "Tell me what happens, in order.", "Describe what happens in the video.",
        "What happens, from first to last?",
    ),
    "first": ("What happens first?", "What is the first thing that happens?",
              "How does the video begin?"),
    "last": ("What happens last?", "What is the last thing that happens?",
             "How does the video end?"),
    "after": ("What happens after {e}?", "What happens right after {e}?",
              "After {e}, what happens next?"),
    "before": ("What happens before {e}?", "What happens right before {e}?",
               "Before {e}, what happens?"),
    "action": ("What does the {n} do?", "What happens to the {n}?",
               "What does the {n} do in the video?"),
    "move": ("Which way does the {n} move?", "In which direction does the {n} move?",
             "Where does the {n} move to?"),
    "enter": ("From which side does the {n} enter?", "Where does the {n} enter from?"),
    "leave": ("To which side does the {n} leave?", "Where does the {n} leave to?"),
    "now": ("Where is the {n}?", "Where is the {n} in the picture?"),
    "start": ("Where does the {n} start?", "Where is the {n} when it is first seen?",
              "Where is the {n} at first?"),
    "end": ("Where does the {n} end?", "Where is the {n} when it is last seen?",
            "Where does the {n} end up?"),
    "colour": ("What colour is the {n}?", "What color is the {n}?", "Which colour is the {n}?",
               "What is the colour of the {n}?", "What is the color of the {n}?"),
    "colour then": ("What colour is the {n} at the {t}?", "What color is the {n} at the {t}?"),
    "shape": ("What shape is the {n}?", "Which shape is the {n}?", "What is the {n}?",
              "What is the shape of the {n}?"),
    "things": ("How many objects are there?", "How many shapes are there?",
               "How many objects are in the video?", "How many shapes do you see in the video?"),
    "events": ("How many things happen?", "How many events are there?",
               "How many things happen in the video?"),
    "scenes": ("How many scenes are there?", "How many scenes does the video have?"),
    "existence": ("Is there {a}?", "Is there {a} in the video?", "Do you see {a}?",
                  "Does the video show {a}?"),
    "digit": ("Which digit is shown?", "What digit is shown in the video?",
              "Which digit do you see?"),
    "letter": ("Which letter is shown?", "What letter is shown in the video?",
               "Which letter do you see?"),
    "card": ("What is shown on the card?", "What does the card show?",
             "What is written on the card?"),
    "card place": ("Where is the card?", "Where is the card shown?"),
    "next": ("And then?", "What happens next?", "What happens after that?"),
    "it does": ("What does it do?", "And what does it do?", "What happens to it?"),
    "it starts": ("Where does it start?", "Where is it at first?"),
    "it ends": ("Where does it end up?", "Where does it end?"),
    "subtitles": ("Subtitles: {l}",),
    "which event": ("Which of these happens?", "What happens in the video?"),
    "which first": ("Which of these happens first?", "What happens first?"),
    "which last": ("Which of these happens last?", "What happens last?"),
    "which thing": ("Which of these is in the video?", "Which of these do you see?"),
}  # fmt: skip
INSTRUCTION = "Answer with the option's letter from the given choices directly."
OPTIONS = ("A", "B", "C", "D")
ANSWERS = (
    "It is a circle.", "There are no shapes.", "There is one shape, an object.",
    "Two things happen.",
    "One thing happens.", "Yes, there is no scene.", "No digit, letter is shown.",
    "The card shows nothing.", "Nothing happens after that.", "Nothing happens before that.",
    "First a, then b, finally c.", "starts ends at the in", "There are two scenes.", "leaves to",
)  # fmt: skip
# The words that an answer's sentences begin with: they have a token of their own, with a capital.
OPENERS = ("It", "There", "The", "Yes", "No", "First", "Nothing", "I", "One", "Two", "Three",
           "Four", "Five", "Six", *OPTIONS)  # fmt: skip


def one_of(wording: str, rng: np.random.Generator) -> str:
    """One way to put a question, its gaps still open."""
    return WORDINGS[wording][int(rng.integers(len(WORDINGS[wording])))]


def lines() -> list[str]:
    """Everything that questions and answers are made of, as text to take words from."""
    groups = [*WORDINGS.values(), NAMED, VERBS.values(), PLACES.values(), ANSWERS, NUMBERS, NOUNS]
    names = [SHAPES, COLOURS, DIRECTIONS, SIDES, GLYPHS, NAMES, OPTIONS, ("start", "end", "!")]
    return [line for group in (*groups, *names) for line in group] + [
        SHOWN,
        STAYS,
        UNKNOWN,
        INSTRUCTION,
    ]


def question_to_json(question: Question) -> dict[str, Any]:
    """A question as plain data, without its claims, which only training needs."""
    data = {"kind": question.kind, "text": question.text, "answer": question.answer}
    return data | ({"earlier": question.earlier} if question.earlier else {})
