"""A chat about one video, or several together: the model stays, and so does what it read."""

from __future__ import annotations

from dataclasses import replace

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.binding import bind
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.conversation import Conversation, advising, answer_one, converse, open_session
from dycoke_cli.runs.listener import Listener


class Chat:
    """Questions that follow up on each other.

    Args:
        conversation: the videos, and how they are asked about; it has no questions.
        listener: hears of the loading.

    Attributes:
        conversation: as it is now; its method has the model's defaults.
        method: the same, bound to the model.
        session: the videos with the model, as they are now.
        answers: of the questions, in order; those that were stopped have none.

    Raises:
        DycokeError: the videos can't be read, or the model can't be loaded or asked.
    """

    def __init__(self, conversation: Conversation, listener: Listener) -> None:
        with advising(conversation.request):
            session, method = open_session(conversation, listener, reuse=True)
        self.conversation = _asking_by(method, conversation)
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
        with advising(self.conversation.request):
            answer = answer_one(
                self.session, question, self.conversation, self.method, listener, history
            )
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
        """Ask by another method from now on; what it is with the model's defaults.

        Raises:
            UsageError: the model can't be asked with it.
        """
        self.method = bind(method, self.session.loaded.traits)
        request = self.conversation.request.with_method(self.method.method)
        self.conversation = replace(self.conversation, request=request)
        return self.method.method

    def show(self, videos: tuple[str, ...], listener: Listener) -> None:
        """Go on with other videos, in a new conversation; the old one stays where that fails."""
        conversation = replace(self.conversation, videos=videos)
        with advising(conversation.request):
            session, _ = open_session(conversation, listener, self.session.loaded, reuse=True)
        self.session, self.conversation, self.answers = session, conversation, []

    def forget(self) -> None:
        """Begin a new conversation about the same videos, which stay encoded."""
        self.answers = []


def _asking_by(method: BoundMethod, conversation: Conversation) -> Conversation:
    """The conversation with the parameters that its method has for the model."""
    return replace(conversation, request=replace(conversation.request, method=method.method))
