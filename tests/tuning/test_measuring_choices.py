"""What is observed of a setting's choices, of a session that has its probabilities written down."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.tuning.measuring import BaselineChoices, divergence
from tests.documents import example

SHARES = {
    "none": {"left": 0.7, "right": 0.2, "up": 0.1},
    "evs": {"left": 0.5, "right": 0.3, "up": 0.2},
    "random": {"left": 0.1, "right": 0.65, "up": 0.25},
}
OPTIONS = GenerationOptions(typed=TypedOptions(("left", "right", "up")))


class Session:
    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def ask(self, question: str, method: Method, **options: Any) -> Answer:
        self.asked.append((method.name, options["typed"]))
        if question == "refused":
            return example(Answer, finish_reason="refused", question=question)
        shares = SHARES[method.name]
        kept = 100 if method.name == "none" else 30
        made: Any = SimpleNamespace(
            refused=False,
            question=question,
            answer=max(shares, key=lambda text: shares[text]),
            probabilities=shares,
            tokens=SimpleNamespace(visual=100, visual_kept=kept),
            seconds=SimpleNamespace(prefill=2.0, decode=0.5),
        )
        return made


def test_each_question_is_asked_once_by_a_setting() -> None:
    session, answered = Session(), list[Any]()
    base = BaselineChoices(session, ["one", "refused", "two"], OPTIONS, answered.append)  # type: ignore[arg-type]
    assert [one.question for one in base.observations] == ["one", "two"]
    assert [one.question for one in answered] == ["one", "two"]
    assert all(one.same and one.divergence == 0 for one in base.observations)
    session.asked.clear()
    [one, two] = base.compare(create("evs"))
    assert session.asked == [("evs", OPTIONS.typed)] * 2
    assert (one.question, two.question) == ("one", "two")
    assert (one.answer, one.same) == ("left", True)
    # By hand: of the probabilities above.
    by_hand = 0.7 * math.log(0.7 / 0.5) + 0.2 * math.log(0.2 / 0.3) + 0.1 * math.log(0.1 / 0.2)
    assert one.divergence == pytest.approx(by_hand)
    certainty = one.certainty
    assert certainty.least_margin == pytest.approx(0.2)
    assert certainty.least_probability == 0.5
    assert certainty.mean_log_probability == pytest.approx(math.log(0.5))
    # Nothing is decoded: the prefill is all of the cost.
    assert (one.visual, one.read, one.read_in_decode, one.seconds) == (100, 30, 30.0, 2.5)


def test_another_choice_is_another_answer() -> None:
    base = BaselineChoices(Session(), ["one"], OPTIONS)  # type: ignore[arg-type]
    [one] = base.compare(create("random"))
    assert (one.answer, one.same) == ("right", False)
    assert one.certainty.least_margin == pytest.approx(0.4)


def test_what_has_no_probability_diverges_finitely() -> None:
    assert 20 < divergence({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}) < 30
    assert divergence({"a": 0.0, "b": 1.0}, {"a": 0.5, "b": 0.5}) == pytest.approx(math.log(2))
