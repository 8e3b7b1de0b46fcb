"""A request on its way through the engine's thread, and the events that its client gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
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
        cancelled: set when the client has gone.

    Attributes:
        has_text: whether the client got text of the answer: then it can't be begun anew.
        ended: whether the client got the answer, or an error.
    """

    request: ChatRequest
    methods: tuple[BoundMethod, ...]
    key: Hashable
    clips: tuple[Clip, ...]
    session: VideoSession | None
    send: Callable[[Event], None]
    seconds_read: float = 0.0
    inspect: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    since: float = field(default_factory=time.monotonic)
    has_text: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)

    @property
    def method(self) -> BoundMethod:
        """The method of the request."""
        return self.methods[0]

    @property
    def group(self) -> Hashable | None:
        """Equal for tasks that can be one batch; None for a task that is answered alone."""
        # Sampling depends on the rest of a batch, and pruning inside the language model selects
        # tokens for a single sequence.
        alone = (
            self.inspect
            or len(self.clips) != 1
            or self.request.generation.temperature > 0
            or self.method.inside is not None
        )
        if alone:
            return None
        # Of greedy decoding the number of tokens is left, too, which each answer has for itself.
        generation = self.request.generation
        form = (generation.typed, generation.structured)
        return self.clips[0].frames.shape, self.method, form

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Sends text; None where the client wants the whole answer only."""
        return self.deliver if self.request.stream else None

    def deliver(self, event: Event) -> None:
        """Send a part of the answer, or what ends it."""
        if isinstance(event, (str, TextDelta)):
            self.has_text = True
        else:
            self.ended = True
        self.send(event)
