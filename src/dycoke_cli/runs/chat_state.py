"""A chat about one or several videos: the model and the encoded videos stay in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Ask
from dycoke_cli.compression.method import Method
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.engine import Engine
from dycoke_cli.request import Request
from dycoke_cli.runs.converse import asks_of, converse, work_on
from dycoke_cli.runs.listener import Listener

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession


class Chat:
    """Questions that follow up on each other.

    Attributes:
        videos: paths of the current ones.
        request: its method has the model's defaults.
        answers: of the questions, in order; questions whose answer was stopped have none.
    """

    def __init__(
        self, engine: Engine, videos: Sequence[str], request: Request, listener: Listener
    ) -> None:
        self._engine = engine
        self.answers: list[Answer] = []
        self._given, self._in_windows = request.method, False
        self.request, self.videos = request, tuple(videos)
        self.show(videos, listener)

    def ask(self, question: str, listener: Listener) -> Answer:
        """Answer a question, which sees the earlier ones and their answers."""
        history = tuple((answer.question, answer.answer) for answer in self.answers)
        asks = [replace(ask, history=history) for ask in self._asks([question])]
        [answer] = converse(self._engine, asks, listener)
        self.answers.append(answer)
        return answer

    def compare(self, question: str, listener: Listener) -> None:
        """Ask by itself, with and without compression; it isn't part of the conversation."""
        if self.request.method.name == "none":
            raise UsageError("the baseline is what others are compared with: choose a /method")
        converse(self._engine, self._asks([question], compare=True), listener)

    def use(self, method: Method) -> Method:
        """Ask by another method from now on; returns it with the model's defaults."""
        settled = self._engine.settled(method, in_windows=self._in_windows)
        self._given, self.request = method, self.request.with_method(settled)
        return settled

    def show(self, videos: Sequence[str], listener: Listener) -> None:
        """Begin a new conversation about other videos; the old one stays if they can't be read."""
        request = replace(self.request, method=self._given)

        def settle(session: VideoSession, _: object) -> Method:
            windowed = session.windowed
            self._in_windows = windowed is not None and windowed.count > 1
            return self._engine.settled(self._given, in_windows=self._in_windows)

        [ask] = asks_of(self._engine, videos, [""], request)
        method = work_on(self._engine, ask, settle, listener)
        self.request, self.videos = replace(request, method=method), tuple(videos)
        self.answers = []

    def forget(self) -> None:
        """Begin a new conversation about the same videos, which stay encoded."""
        self.answers = []

    def _asks(self, questions: Sequence[str], *, compare: bool = False) -> list[Ask]:
        # By the method as it was given: its positions depend on whether a video has windows.
        request = replace(self.request, method=self._given)
        return asks_of(self._engine, self.videos, questions, request, compare=compare)
