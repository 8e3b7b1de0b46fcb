"""How questions are put, several ways each; every word that can occur comes from here."""

from __future__ import annotations

import numpy as np

from dycoke_cli.shapes.questions.telling import NAMED, SHOWN, STAYS, UNKNOWN, VERBS
from dycoke_cli.shapes.world.vocabulary import (
    COLOURS,
    DIRECTIONS,
    GLYPHS,
    NAMES,
    SHAPES,
    SIDES,
)

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
