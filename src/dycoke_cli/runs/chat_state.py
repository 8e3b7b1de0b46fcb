"""A chat about one or several videos: the model and the encoded videos stay in memory."""

from __future__ import annotations

from dataclasses import replace

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.binding import bind
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.conversation import Conversation, open_session
from dycoke_cli.runs.converse import answer_one, converse
from dycoke_cli.runs.listener import Listener


class Chat:
    """Questions that follow up on each other.

    Args:
        conversation: the videos, and how they are asked about; it has no questions.
        listener: receives the progress of loading.

    Attributes:
        conversation: current videos and options; its method has the model's defaults.
        method: the same method, bound to the model.
        session: the current videos with the model.
        answers: of the questions, in order; questions whose answer was stopped have none.

    Raises:
        DycokeError: the videos can't be read, or the model can't be loaded or asked.
    """

    def __init__(self, conversation: Conversation, listener: Listener) -> None:
        with conversation.request.advising():
            session, method = open_session(conversation, listener, reuse=True)
        self._given = conversation.request.method
        self.conversation = _with_method(method, conversation)
        self.method = method
        self.answers: list[Answer] = []
        self.session = session

    @property
    def timestamps_s(self) -> list[tuple[float, ...]]:
        """Of the frames that were read, for each video."""
        return [tuple(clip.timestamps_s) for clip in self.session.clips]

    def ask(self, question: str, listener: Listener) -> Answer:
        """Answer a question, which sees the earlier ones and their answers."""
        self.session.on_progress = listener.stage
        history = [(answer.question, answer.answer) for answer in self.answers]
        with self.conversation.request.advising():
            answer = answer_one(
                self.session, question, self.conversation, self.method, listener, history
            )
        self.session.finish()
        self.answers.append(answer)
        return answer

    def compare(self, question: str, listener: Listener) -> None:
        """Ask by itself, with and without compression; it isn't part of the conversation.

        Raises:
            UsageError: the method is the baseline.
        """
        if self.conversation.request.method.name == "none":
            raise UsageError("the baseline is what others are compared with: choose a /method")
        alone = replace(self.conversation, questions=[question], compare=True)
        converse(alone, listener, self.session.loaded)

    def use(self, method: Method) -> Method:
        """Ask by another method from now on; returns it with the model's defaults.

        Raises:
            UsageError: the model doesn't support it.
        """
        self._given, self.method = method, bind(method, self.session.traits)
        request = self.conversation.request.with_method(self.method.method)
        self.conversation = replace(self.conversation, request=request)
        return self.method.method

    def show(self, videos: tuple[str, ...], listener: Listener) -> None:
        """Begin a new conversation about other videos; the old one stays if they can't be read."""
        # By the method as it was given: its positions depend on whether a video has windows.
        request = replace(self.conversation.request, method=self._given)
        conversation = replace(self.conversation, videos=videos, request=request)
        with request.advising():
            session, method = open_session(conversation, listener, self.session.loaded, reuse=True)
        self.conversation = _with_method(method, conversation)
        self.session, self.method, self.answers = session, method, []

    def forget(self) -> None:
        """Begin a new conversation about the same videos, which stay encoded."""
        self.answers = []


def _with_method(method: BoundMethod, conversation: Conversation) -> Conversation:
    """The conversation with the parameters that its method has for the model."""
    return replace(conversation, request=replace(conversation.request, method=method.method))
