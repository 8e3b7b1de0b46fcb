"""Letters and probabilities of the same questions, counted by hand."""

from __future__ import annotations

import pytest

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.evaluation.prediction import Prediction, unanswered
from dycoke_cli.evaluation.report.scored_row import probability_row


def item(number: int, options: int = 2) -> Item:
    return Item(
        id=f"q{number}",
        video=f"v{number // 2}",
        question="Which?",
        answer="A",
        kind="letter",
        label="",
        options=("a cat", "a dog", "a bird")[:options],
    )


def said(item: Item, text: str, right: bool, **more: object) -> Prediction:
    return Prediction(item.id, text, right, {}, 9, 9, 9.0, 2, 0.1, 9, **more)  # type: ignore[arg-type]


def test_by_hand() -> None:
    items = [item(n) for n in range(4)]
    generated = {
        one.id: said(one, text, right)
        for one, text, right in zip(
            items, ("A.", "B", "A dog", "who knows"), (True, False, False, False), strict=True
        )
    }
    shares = [{"A": first, "B": 1 - first} for first in (0.9, 0.7, 0.2, 0.6)]
    letters = ("A", "A", "B", "A")
    choices = {
        one.id: said(one, letter, letter == "A", probabilities=own, mass=0.5)
        for one, letter, own in zip(items, letters, shares, strict=True)
    }
    row = probability_row(items, generated, choices)
    assert row is not None
    assert (row.questions, row.generated_accuracy, row.accuracy) == (4, 0.25, 0.75)
    assert row.agree == 0.5  # A and A; B and A; "A dog" is B, as the choice; nothing and A
    assert row.confidence == pytest.approx(0.75)
    assert row.mass == 0.5
    by_hand = (abs(0.6 - 1) + abs(0.7 - 1) + abs(0.8 - 0) + abs(0.9 - 1)) / 4
    assert row.calibration_error == pytest.approx(by_hand)
    assert row.standard_error is not None
    assert row.generated_error is not None
    # Of two videos.
    assert row.plus_minus == pytest.approx(1.837337 * row.standard_error)
    assert row.generated_plus_minus == pytest.approx(1.837337 * row.generated_error)


def test_only_questions_answered_both_ways_count() -> None:
    items = [item(n) for n in range(3)]
    generated = {one.id: said(one, "A", True) for one in items}
    generated["q1"] = unanswered(Shapes(), items[1], "the video can't be read")
    choices = {
        one.id: said(one, "A", True, probabilities={"A": 1.0, "B": 0.0}, mass=1.0)
        for one in items[:2]
    }
    row = probability_row(items, generated, choices)
    assert row is not None
    assert (row.questions, row.standard_error) == (1, None)
    assert probability_row(items, generated, {}) is None


def test_the_letters_of_a_question() -> None:
    assert item(0, 3).letters == ("A", "B", "C")
    assert item(0, 0).letters == ()
    letters = [one for one in Shapes().items("validation", 20) if one.letters]
    assert {one.kind for one in letters} == {"letter"}
    assert {one.letters for one in letters} == {("A", "B", "C", "D")}
    assert all(f"{one.letters[3]}. {one.options[3]}\n" in one.question for one in letters)
