"""Questions that are asked together under a guard: as each of them alone, of any family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dycoke_cli import VideoSession
from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import create, described
from dycoke_cli.engine.ask_together import Question
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.observing import CertaintyObserver
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.loop.answer_batch import ask_guarded
from dycoke_cli.models.discovery.layout_search import find_layout
from dycoke_cli.models.families import family_of
from dycoke_cli.models.load import LoadedModel
from tests.families.stock import clip
from tests.families.tiny import make

QUESTIONS = ("What is it?", "Is there a dog, and what does it do there?", "Why?")
TOKENS = 3
OPTIONS = GenerationOptions(max_new_tokens=TOKENS)
TTM = create("dycoke", kv_prune=False)


@pytest.fixture(scope="module", params=["of the table", "found"])
def questions(request: pytest.FixtureRequest) -> list[Question]:
    """Questions about videos of a tiny model, whose layout is listed or found."""
    model, processor = make("llava_onevision")
    family = family_of(model.config)
    if request.param == "found":
        family = find_layout(model, processor, "llava_onevision")
        assert family.stock_inputs
    loaded = LoadedModel("llava_onevision", None, None, model, processor, family, 0.0)
    sessions = [VideoSession(loaded, clip(3, seed)) for seed in range(2)]
    return [Question(sessions[n % 2], question) for n, question in enumerate(QUESTIONS)]


def alone(item: Question, method: Method) -> tuple[str, float]:
    """The answer to a question asked alone, and its certainty."""
    observer = CertaintyObserver()
    answer = item.session.ask(item.question, method, observer=observer, max_new_tokens=TOKENS)  # type: ignore[attr-defined]
    return answer.answer, observer.certainty(0, answer.tokens.generated).least_probability


def test_each_question_has_its_own_certainty(questions: list[Question]) -> None:
    first = [alone(item, TTM) for item in questions]
    whole = [alone(item, Method()) for item in questions]
    threshold = sorted(certainty for _, certainty in first)[1]  # two reach it, one doesn't
    guard = Guard(0.05, False, threshold, 80, (described(TTM),))
    answers = ask_guarded(questions, guard, OPTIONS)
    for answer, compressed, uncompressed in zip(answers, first, whole, strict=True):
        assert answer.guard is not None
        enough = compressed[1] >= threshold
        assert answer.answer == (compressed if enough else uncompressed)[0]
        assert [step.certainty for step in answer.guard.path] == [
            pytest.approx(compressed[1], rel=1e-9),
            *([] if enough else [None]),
        ]
    assert [len(answer.guard.path) for answer in answers if answer.guard].count(2) == 1


def test_a_refused_question_has_no_certainty(
    questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The observers of the others are still theirs."""
    from dycoke_cli.engine import ask_together
    from dycoke_cli.engine.make_answer import refusal

    def refuse(loaded: Any, question: str, *rest: Any) -> Any:
        if question != QUESTIONS[0]:
            return refusal(loaded, question, *rest)
        return replace(known, finish_reason="refused")

    expected = [alone(item, TTM) for item in questions]
    guard = Guard(0.05, False, 0.0, 80, (described(TTM),))
    [known] = ask_guarded(questions[:1], guard, OPTIONS)
    monkeypatch.setattr(ask_together, "refusal", refuse)
    answers = ask_guarded(questions, guard, OPTIONS)
    assert answers[0].refused
    found = [answer.guard.path[0].certainty for answer in answers[1:] if answer.guard]
    assert found == [pytest.approx(certainty, rel=1e-9) for _, certainty in expected[1:]]


@pytest.mark.parametrize("calibrate", [False, True])
def test_choices_are_kept_by_their_margin(questions: list[Question], calibrate: bool) -> None:
    typed = TypedOptions(("cat", "a dog", "it sleeps"), calibrate=calibrate)
    options = GenerationOptions(typed=typed)

    def alone(item: Question, method: Method) -> Answer:
        return item.session.ask(item.question, method, typed=typed)  # type: ignore[attr-defined, no-any-return]

    first = [alone(item, TTM) for item in questions]
    whole = [alone(item, Method()) for item in questions]
    # By hand: the two likeliest options' probabilities apart.
    margins = [a - b for b, a in (sorted(one.probabilities.values())[-2:] for one in first)]  # type: ignore[union-attr]
    threshold = sorted(margins)[1]  # two reach it, one doesn't
    guard = Guard(0.05, False, threshold, 80, (described(TTM),))
    answers = ask_guarded(questions, guard, options)
    for answer, margin, compressed, uncompressed in zip(
        answers, margins, first, whole, strict=True
    ):
        assert answer.guard is not ABSENT
        enough = margin >= threshold
        expected = compressed if enough else uncompressed
        assert (answer.choice, answer.tokens) == (expected.choice, expected.tokens)
        assert answer.probabilities == pytest.approx(expected.probabilities)
        assert [step.certainty for step in answer.guard.path] == [  # type: ignore[union-attr]
            pytest.approx(margin, rel=1e-9),
            *([] if enough else [None]),
        ]
    assert [len(one.guard.path) for one in answers].count(2) == 1  # type: ignore[union-attr]
