"""A request on its way through the engine's thread, and the events that its client gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.server.chat_request import ChatRequest
from dycoke_cli.server.inspecting import InspectionResult, TextDelta

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.video import Clip

Event = str | TextDelta | Answer | InspectionResult | BaseException
"""A part of an answer, or its last event: the answer, an inspection or an error."""


@dataclass(eq=False)
class Task:
    """A request whose videos are read.

    Args:
        request: what is asked.
        methods: of the request, bound to the model: its own and, where both are inspected, the one
            to compare with.
        key: of its videos in the session cache.
        clips: of its videos; none where `session` has them, or there are none.
        session: of its videos, where it is cached.
        send: called in the engine's thread with each piece of the answer, and with what ends it.
        seconds_read: that reading the videos took.
        inspect: whether it is inspected.
        on_progress: called in the engine's thread with (stage, done, total).
        cancelled: set when the client has gone.

    Attributes:
        has_text: whether the client got some of the answers: then they can't be begun anew.
        ended: whether the client got the answers, or an error.
    """

    request: ChatRequest
    methods: tuple[BoundMethod, ...]
    key: Hashable
    clips: tuple[Clip, ...]
    session: VideoSession | None
    send: Callable[[Event], None]
    seconds_read: float = 0.0
    inspect: bool = False
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    cancelled: threading.Event = field(default_factory=threading.Event)
    since: float = field(default_factory=time.monotonic)
    has_text: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)
    _answered: int = field(default=0, init=False)

    @property
    def method(self) -> BoundMethod:
        """The method of the request."""
        return self.methods[0]

    @property
    def answers(self) -> int:
        """How many answers it gets; each is sent when it ends."""
        return self.request.answers

    @property
    def group(self) -> Hashable | None:
        """Equal for tasks that can be one batch; None for a task that is answered alone."""
        # Sampling depends on the rest of a batch, a penalty of repetition on its padding, and
        # pruning inside the language model selects tokens for a single sequence.
        tokens = self.request.generation.tokens
        alone = (
            self.inspect
            or len(self.clips) != 1
            or self.request.max_tokens is not None
            or self.request.generation.temperature > 0
            or self.method.inside is not None
        )
        if alone or (tokens is not None and tokens.repetition_penalty is not None):
            return None
        # Each answer of a batch has its own number of tokens; a seed means nothing to greedy ones.
        generation = replace(self.request.generation, max_new_tokens=1, seed=None)
        return self.clips[0].frames.shape, self.method, generation

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Sends text; None where the client wants the whole answer only."""
        return self.deliver if self.request.stream else None

    def deliver(self, event: Event) -> None:
        """Send a part of the answer, or what ends it."""
        self.has_text = self.has_text or not isinstance(event, BaseException)
        self._answered += isinstance(event, Answer)
        if not isinstance(event, (str, TextDelta, Answer)) or self._answered == self.answers:
            self.ended = True
        self.send(event)
