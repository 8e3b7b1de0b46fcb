"""How questions climb a guard's budgets, with a model that has its answers written down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from dycoke_cli.answer.answer import Answer, Flops, Seconds, Tokens
from dycoke_cli.compression.registry import create, described
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.loop import answer_batch as asking
from dycoke_cli.loop.answer_batch import ask_guarded
from tests.documents import example

LADDER = tuple(described(create("evs", retain=share)) for share in (0.1, 0.5))
REFUSED = "?"
# The smallest probability of a token at each budget.
SURE = {"easy": (0.9, 0.9), "middling": (0.5, 0.9), "hard": (0.1, 0.79)}


def guard(threshold: float | None = 0.8) -> Guard:
    return Guard(0.05, False, threshold, 60, LADDER)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The questions of each call; each answer takes as many seconds as its budget has percent."""
    calls: list[list[str]] = []

    def ask_together(
        questions: Sequence[str], method: Any, options: Any, observers: Sequence[Any]
    ) -> list[Answer]:
        calls.append([*questions])
        step = len(calls) - 1
        percent = round(100 * method.parameters().get("retain", 1))
        assert len(observers) == (0 if method.name == "none" else len(questions))
        for observer, one in zip(observers, questions, strict=False):
            if one == REFUSED:
                continue
            [sure] = row = [SURE[one][step]]
            observer(None, torch.tensor([row + [(1 - sure) / 20] * 20]).log())
            # Behind an answer's tokens the batch is padded, which isn't looked at.
            observer(None, torch.zeros(1, 21))
        return [answer(one, method, percent) for one in questions]

    monkeypatch.setattr(asking, "ask_together", ask_together)
    return calls


def answer(question: str, method: Any, percent: int) -> Answer:
    return example(
        Answer,
        question=question,
        answer=f"{question} at {percent} %",
        finish_reason="refused" if question == REFUSED else "stop",
        method=described(method),
        tokens=example(Tokens, visual_kept=percent, visual_read_per_step=2.0, generated=1),
        seconds=Seconds(
            load=7.0, video_decode=1.0, vision=2.0, prefill=percent, first_token=percent + 0.5,
            decode=10.0, total=percent + 20.0, request=None,
        ),
        flops=example(Flops, prefill=percent, decode=1, uncompressed=1000),
    )  # fmt: skip


def ask(*questions: str, threshold: float | None = 0.8) -> list[Answer]:
    given: Any = questions
    return ask_guarded(given, guard(threshold), GenerationOptions())


def test_uncertain_answers_alone_are_asked_again(asked: list[list[str]]) -> None:
    answers = ask("hard", "easy", REFUSED, "middling")
    assert asked == [["hard", "easy", REFUSED, "middling"], ["hard", "middling"], ["hard"]]
    kept = ["hard at 100 %", "easy at 10 %", "? at 10 %", "middling at 50 %"]
    assert [one.answer for one in answers] == kept
    assert answers[2].guard == example(Answer).guard  # none
    found: Any = answers[0].guard
    assert [step.certainty for step in found.path] == [
        pytest.approx(0.1),
        pytest.approx(0.79),
        None,
    ]
    assert [step.visual_kept for step in found.path] == [10, 50, 100]
    assert [step.seconds for step in found.path] == [20, 60, 110]
    assert [step.method["name"] for step in found.path] == ["evs", "evs", "none"]
    assert (found.alpha, found.on_average, found.threshold, found.videos) == (0.05, False, 0.8, 60)


def test_a_certainty_that_is_the_threshold_is_enough(asked: list[list[str]]) -> None:
    [first] = ask("easy", threshold=0.5)
    certainty = first.guard.path[0].certainty  # type: ignore[union-attr]
    for threshold, kept in ((certainty, True), (math.nextafter(certainty, 1), False)):
        asked.clear()
        ask("easy", threshold=threshold)
        assert (len(asked) == 1) == kept


def test_time_and_flops_are_those_of_all_budgets(asked: list[list[str]]) -> None:
    hard, easy = ask("hard", "easy")
    seconds = hard.seconds
    assert (seconds.load, seconds.prefill, seconds.decode) == (7, 160, 30)
    assert (seconds.video_decode, seconds.vision, seconds.total) == (3, 6, 30 + 70 + 120)
    # Its first token comes when both earlier budgets are done.
    assert seconds.first_token == 30 + 70 + 100.5
    assert (hard.flops.prefill, hard.flops.decode, hard.flops.uncompressed) == (160, 3, 1000)
    assert (easy.seconds.total, easy.seconds.first_token, easy.flops.prefill) == (30, 10.5, 10)
    assert hard.tokens.visual_kept == 100


def test_without_a_threshold_all_tokens_are_asked_at_once(asked: list[list[str]]) -> None:
    [only] = ask("hard", threshold=None)
    assert asked == [["hard"]]
    found: Any = only.guard
    assert [(step.method["name"], step.certainty) for step in found.path] == [("none", None)]


def test_a_guards_name_and_key() -> None:
    assert guard().name == "guard=0.05"
    assert Guard(0.1, True, 0.8, 60, LADDER).name == "guard-mean=0.1"
    assert [method.name for method in guard().steps] == ["evs", "evs", "none"]
    key = guard().key_part()
    assert key["threshold"] == 0.8
    assert [each["retain"] for each in key["methods"]] == [0.1, 0.5]
    # The bound isn't in it: two bounds with one threshold have the same answers.
    assert Guard(0.1, True, 0.8, 90, LADDER).key_part() == key
    assert guard(0.9).key_part() != key
