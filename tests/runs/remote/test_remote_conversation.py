"""What a conversation asks a model on a server, question by question."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from dycoke_cli.runs.conversation import Conversation
from dycoke_cli.runs.remote.remote_conversation import _answer_all

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.remote.sent_video import NO_VIDEO
from tests.documents import example


class Served:
    """A model that samples its first answer by seed 41, the next by 42, …; and what it is asked."""

    server = SimpleNamespace(names_method=True)

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], str, float, int | None]] = []

    def ask(self, question: Any, video: Any, method: Any, options: Any, on_text: Any) -> Answer:
        asked = question.text, question.history, method.name, video.seconds, options.seed
        self.asked.append(asked)
        seed = 40 + len(self.asked) if options.seed is None else options.seed
        return example(Answer, question=question.text, answer=f"to {question.text}", seed=seed)


def answered(**flags: bool) -> tuple[Served, list[Answer]]:
    model, listener, answers = Served(), Listener(), list[Answer]()
    listener.finish = answers.append  # type: ignore[method-assign]
    request = replace(BUNDLED, method=create("evs"), generation=GenerationOptions(temperature=1.0))
    conversation = Conversation(("a.mp4",), ["One?", "Two?"], request, **flags)
    served: Any = model
    _answer_all(conversation, served, replace(NO_VIDEO, seconds=3.0), listener)
    return model, answers


def test_the_first_answer_alone_waited_for_the_decoding() -> None:
    model, answers = answered()
    assert model.asked == [("One?", (), "evs", 3.0, None), ("Two?", (), "evs", 0.0, None)]
    assert [(one.video, one.answer) for one in answers] == [
        ("a.mp4", "to One?"), ("a.mp4", "to Two?"),
    ]  # fmt: skip


def test_a_follow_up_has_what_was_said_before() -> None:
    model, _ = answered(follow_up=True)
    assert [history for _, history, *_ in model.asked] == [(), (("One?", "to One?"),)]


def test_a_comparison_is_sampled_by_the_same_seed() -> None:
    model, answers = answered(compare=True)
    methods_and_seeds = [(method, seed) for *_, method, _, seed in model.asked]
    assert methods_and_seeds == [("evs", None), ("none", 41), ("evs", None), ("none", 43)]
    assert all(one.compared_to.video == "a.mp4" for one in answers)  # type: ignore[union-attr]
