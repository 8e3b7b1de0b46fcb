"""What is observed of a setting, with a session that has its answers written down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.tuning.measuring import Baseline, bare
from tests.documents import example
from tests.tuning.test_search import observed

TOKENS = 3


class Session:
    """The likeliest token of each step has .6; under a setting the second one does from `step`."""

    def __init__(self, step: int = TOKENS) -> None:
        self.step, self.asked = step, list[tuple[str, int, bool]]()

    def ask(self, question: str, method: Method, *, observer: Any, **options: Any) -> Answer:
        from dycoke_cli.engine.observing import ForcingObserver

        changed, forced = method.name != "none", isinstance(observer, ForcingObserver)
        self.asked.append((method.name, options["max_new_tokens"], forced))
        if question == "refused":
            return example(Answer, finish_reason="refused", question=question)
        for step in range(min(TOKENS, options["max_new_tokens"])):
            first, second = (0.3, 0.6) if changed and step >= self.step else (0.6, 0.3)
            observer(None, torch.tensor([[first, second, 0.1]]).log())
        other = changed and self.step < TOKENS and not forced
        tokens = SimpleNamespace(
            generated=TOKENS, visual=100, visual_kept=30 if changed else 100,
            visual_read_per_step=12.0 if changed else None, visual_active_in_decode=100,
        )  # fmt: skip
        seconds = SimpleNamespace(prefill=2.0, decode=0.5 if forced else 1.0)
        made: Any = SimpleNamespace(
            refused=False, question=question, tokens=tokens, seconds=seconds,
            answer="No." if other else "Yes." if changed else " yes",
        )  # fmt: skip
        return made


def baseline(session: Any, *questions: str, **more: Any) -> Baseline:
    return Baseline(session, questions, GenerationOptions(max_new_tokens=9), **more)


def test_a_setting_that_agrees_is_asked_once_with_the_uncompressed_tokens() -> None:
    session = Session()
    answered: list[Any] = []
    base = baseline(session, "one", "refused", "two", on_answer=answered.append)
    assert [one.question for one in base.observations] == ["one", "two"]
    assert [one.question for one in answered] == ["one", "two"]
    plain = base.observations[0]
    assert (plain.read, plain.read_in_decode, plain.divergence, plain.same) == (100, 100, 0, True)
    session.asked.clear()
    one, two = base.compare(create("evs"))
    # As many tokens as the uncompressed answer has.
    assert session.asked == [("evs", TOKENS, True)] * 2
    assert (one.question, two.question) == ("one", "two")
    assert (one.same, one.divergence) == (True, pytest.approx(0, abs=1e-6))
    assert (one.visual, one.read, one.read_in_decode, one.seconds) == (100, 30, 12, 2.5)
    assert one.certainty.least_probability == pytest.approx(0.6)
    assert one.certainty.least_margin == pytest.approx(0.3)


def test_one_that_differs_is_asked_again_freely() -> None:
    session = Session(step=2)
    base = baseline(session, "one")
    session.asked.clear()
    [one] = base.compare(create("evs"))
    assert session.asked == [("evs", TOKENS, True), ("evs", 9, False)]
    assert (one.answer, one.same, one.seconds) == ("No.", False, 3)
    # .6 and .3 for .3 and .6 at one token of three.
    by_hand = (0.6 * torch.tensor(2.0).log() + 0.3 * torch.tensor(0.5).log()) / 3
    assert one.divergence == pytest.approx(float(by_hand), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "same"),
    [("Yes.", True), ('"yes!"', True), ("yes  ", True), ("y es", False), ("yes, no", False)],
)
def test_case_and_punctuation_at_the_ends_make_no_other_answer(text: str, same: bool) -> None:
    assert (bare(text) == bare("yes")) == same
    assert bare("A  red\n cube") == "a red cube"


def test_a_cost_is_the_mean_of_prefill_and_decode() -> None:
    from dataclasses import replace

    from dycoke_cli.tuning.search import losses, summarize

    one = replace(observed(40, 0.2), read_in_decode=10.0, seconds=3.0)
    two = replace(observed(20, 0.4, same=False), read_in_decode=10.0, seconds=1.0)
    videos = [{"a": [one, two]}, {"a": [one]}, {"b": [two]}]
    result = summarize("a", videos)
    assert result.cost == pytest.approx((25 + 15 + 25) / 300)
    assert result.divergence == pytest.approx((0.2 + 0.4 + 0.2) / 3)
    assert result.agreement == 0.75  # by video, not by question
    assert result.seconds == pytest.approx(7 / 3)
    assert result.videos == 2
    assert losses("a", videos) == [0.5, 0]
