"""What a conversation asks a model on a server, question by question."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.converse import asks_of, converse
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.remote.remote_asker import RemoteAsker
from dycoke_cli.runs.remote.served_model import NO_VIDEO, SentVideo
from dycoke_cli.runs.run import outcomes_of
from tests.documents import example
from tests.runs.parts import CLIPS, PLAN, REQUEST, settled_in

CLIP = str(CLIPS / "move.mp4")


class Served:
    """A model that samples its first answer by seed 41, the next by 42, …; and what it is asked."""

    server = SimpleNamespace(names_method=True, concurrency=2)
    client = SimpleNamespace(close=lambda: None)
    sends_method = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], str, bool, int | None]] = []

    def send(self, clip: Any, seconds: float) -> SentVideo:
        return replace(NO_VIDEO, seconds=seconds)

    def ask(
        self, question: str, history: Any, video: Any, method: Any, options: Any, on_text: Any
    ) -> Answer:
        waited = video.seconds > 0
        self.asked.append((question, tuple(history), method.name, waited, options.seed))
        seed = 40 + len(self.asked) if options.seed is None else options.seed
        if on_text is not None:
            on_text("to")
        answer = example(Answer, question=question, answer=f"to {question}", seed=seed)
        return replace(answer, seconds=replace(answer.seconds, request=0.5))


def run_on(model: Any, groups: Any) -> list[Outcome]:
    def opened(*_: object) -> RemoteAsker:
        return RemoteAsker(model, REQUEST)

    return list(outcomes_of(groups, PLAN, opened, Listener()))


def answered(*, follow_up: bool = False) -> tuple[Served, list[Answer]]:
    model: Any = Served()
    options = GenerationOptions(temperature=1.0)
    request = replace(REQUEST, method=create("evs"), generation=options)
    with RemoteAsker(model, request) as asker:
        asks = asks_of([CLIP], ["One?", "Two?"], request)
        return model, converse(asker, asks, Listener(), follow_up=follow_up)


def test_a_follow_up_has_what_was_said_before() -> None:
    model, answers = answered(follow_up=True)
    assert [history for _, history, *_ in model.asked] == [(), (("One?", "to One?"),)]
    assert [(one.video, one.answer) for one in answers] == [(CLIP, "to One?"), (CLIP, "to Two?")]
    assert model.asked[0][3], "the first answer waited for the decoding"


def test_what_needs_the_model_of_this_process_is_refused() -> None:
    model: Any = Served()
    with RemoteAsker(model, REQUEST) as asker:
        [ask] = asks_of([CLIP], ["One?"], REQUEST)
        needs: dict[str, Any] = {"work": print, "decoders": [None]}
        for name, one in needs.items():
            with pytest.raises(UsageError, match=rf"a remote server .* leave out {name}, or"):
                asker.submit(ask, **{name: one})
    assert not model.asked


def test_a_run_asks_each_question_once_and_sends_each_video_once() -> None:
    model: Any = Served()
    groups = settled_in(CLIPS, "One?", "Two?")
    outcomes = run_on(model, groups)
    assert {one.key for one in outcomes} == {ask.key for group in groups for ask in group}
    assert len(outcomes) == len(model.asked)
    assert sum(waited for *_, waited, _ in model.asked) == len(groups)
    assert {one.seconds for one in outcomes} == {0.5}
