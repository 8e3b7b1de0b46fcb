"""Letters of answers, as people and models phrase them; read by hand."""

from __future__ import annotations

import pytest

from dycoke_cli.evaluation.choices import chosen, lettered, score_choice
from dycoke_cli.evaluation.dataset import Item

OPTIONS = ("Red star", "Blue star", "A man walks", "Green circle")

PHRASES = {
    "B": "B",
    "b": "B",
    "B.": "B",
    "(B)": "B",
    " (b).\n": "B",
    "**B**": "B",
    '"B"': "B",
    "<B>": "B",
    "A": "A",
    "a": "A",
    "B) Blue star": "B",
    "B. Blue star": "B",
    "b. blue star": "B",
    "(B) Blue star": "B",
    "B: the blue one": "B",
    "C. A man walks": "C",
    "A. Red star.": "A",
    "The answer is B": "B",
    "The answer is (B).": "B",
    "the best answer is: b": "B",
    "The correct answer is\n\n(C) A man walks": "C",
    "The correct option is the letter D.": "D",
    "The answer is A because it is red.": "A",
    "Answer: B. Blue star": "B",
    "Answer\nB": "B",
    "Option C": "C",
    "option (c)": "C",
    "\\boxed{D}": "D",
    "\\boxed{\\text{(D)}}": "D",
    "My choice would be C.": "C",
    "The answer is not A. The answer is B.": "B",
    "B, because it is blue": "B",
    "B is correct": "B",
    "I think it is B": "B",
    "A is correct": "A",
    "I'm sure that B is right": "B",
    "The video shows (D) at its end": "D",
    # Texts of options in place of letters.
    "Blue star": "B",
    "blue star.": "B",
    "A man walks in": "C",
    "Answer: A man walks": "C",
    "It is a green circle, I think": "D",
    "The star is a red star.": "A",
    # Not understood.
    "": None,
    "   ": None,
    "a man": None,  # an article is no letter
    "A woman sits": None,
    "A dog runs after a ball.": None,
    "not sure": None,
    "None of the above": None,
    "E": None,  # there are four
    "The answer is E": None,
    "A, B": None,
    "A and B": None,
    "B or C": None,
    "Both (B) and (C)": None,
    "It is not A but B": None,
    "A red star and a blue star": None,  # names two of them
    "vitamin C-rich": None,
    "I": None,
    "I can't see it": None,
    "No answer. A cat sleeps": None,
}


@pytest.mark.parametrize(("said", "letter"), PHRASES.items())
def test_phrases(said: str, letter: str | None) -> None:
    assert chosen(said, OPTIONS) == letter


def test_an_option_in_another_is_not_meant() -> None:
    assert chosen("it is dark red", ("red", "dark red", "blue")) == "B"
    assert chosen("it is red", ("red", "dark red", "blue")) == "A"
    assert chosen("yes", ("yes", "yes")) is None


def test_options_with_their_letters_are_known_by_their_texts() -> None:
    options = ("A. Apples.", "B. Candles.", "C. Berries.")
    assert chosen("candles", options) == "B"
    assert chosen("There are berries on it", options) == "C"


def test_as_many_letters_as_options() -> None:
    assert chosen("E", (*OPTIONS, "Blue circle")) == "E"
    assert chosen("D", OPTIONS[:3]) is None
    assert lettered(("x", "y"), "({}) {}") == "(A) x\n(B) y"


@pytest.mark.parametrize(
    ("said", "right", "parsed"), [("(b)", True, True), ("A", False, True), ("?", False, False)]
)
def test_what_is_not_understood_is_wrong(said: str, right: bool, parsed: bool) -> None:
    item = Item("1", "v", "What?", "B", "k", "", options=OPTIONS)
    score = score_choice(item, said)
    assert (score.right, score.parsed) == (right, parsed)
