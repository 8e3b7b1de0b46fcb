"""Questions that wait for their turn, and the videos that they wait for."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from dycoke_cli.ask import Answered, Ask, Done, Event, Failed, Progress, Refuse, Seen, Text
from dycoke_cli.compression.method import Method
from dycoke_cli.errors import DycokeError
from dycoke_cli.loop.reading import Reading

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession

Work = Callable[["VideoSession", Callable[[Event], None]], Any]
"""Something else than an answer that is made of a video; may send events."""
Receive = Callable[["Pending", Event], None]
"""Receives an event of a question."""


FORGOTTEN = "nobody waits for the answer"
_NUMBERS = itertools.count()


class Owner(Protocol):
    """What a question needs of whoever answers it."""

    def advance(self) -> None:
        """Answer a batch, or wait a moment for whoever does."""

    def forget(self, pending: Pending) -> None:
        """Take a question away."""


class CancelledError(DycokeError):
    """Nobody waits for an answer; ends what is done for it."""


class Client:
    """Somebody who asks: questions of several clients are answered in turns.

    Args:
        batch_size: questions that are answered together; None leaves it to the engine.
        owner: equal for those that share what one of them may have read at once.

    Attributes:
        is_over: whether no more questions come.
        arrived_s: when a video was last read for one of the questions.
    """

    def __init__(
        self,
        *,
        bulk: bool = False,
        batch_size: int | None = None,
        caches: bool = False,
        owner: Hashable = None,
    ) -> None:
        self.bulk, self.batch_size, self.caches, self.owner = bulk, batch_size, caches, owner
        self.is_over = False
        self.arrived_s = time.monotonic()


class Video:
    """The videos of a question with the model; several questions may wait for them.

    Attributes:
        asked: those questions.
        is_kept: whether a later question about them is likely.
        session: what the model made of the videos; None until it has.
        prepared_s: seconds that this took, unless they were read in windows.
    """

    def __init__(self, key: Hashable, reading: Reading, client: Client) -> None:
        self.key, self.reading, self.client = key, reading, client
        self.is_kept = not client.bulk
        self.asked: list[Pending] = []
        self.session: VideoSession | None = None
        self.prepared_s = 0.0

    def close(self) -> None:
        """Free what is in memory of the videos; circles of references keep it no longer."""
        self.reading.send = lambda event: None
        self.reading.clips, self.session = (), None

    def send(self, event: Event) -> None:
        """Send an event to everybody who waits for the videos."""
        for pending in [*self.asked]:
            pending.send(event)

    @property
    def seen(self) -> Seen:
        """What was read."""
        clips = self.reading.clips
        times = tuple(tuple(clip.timestamps_s) for clip in clips)
        infos = tuple(clip.info for clip in clips)
        return Seen(infos, times, clips[0].part_s, clips[0].dropped, self.prepared_s)


class Pending:
    """A question under way.

    Attributes:
        ask: the question.
        client: who asks.
        number: of this question, for another process.
        video: what it is about; None without a video.
        methods: that of the question, settled for the model; empty before it is.
        is_cancelled: whether nobody waits for the answer.
        has_ended: whether the last event was sent and received.
        has_text: whether a part of the answer was sent.
        since_s: when it was asked.
    """

    def __init__(
        self,
        owner: Owner,
        ask: Ask,
        client: Client,
        receive: Receive | None,
        *,
        streams: bool,
        work: Work | None,
        refuse: Refuse | None,
    ) -> None:
        self.ask, self.client, self.number = ask, client, next(_NUMBERS)
        self.streams, self.work, self.refuse = streams, work, refuse
        self.video: Video | None = None
        self.methods: Sequence[Method] = ()
        self.is_cancelled = self.has_ended = self.has_text = False
        self._is_ending = False
        self.since_s = time.monotonic()
        self._owner = owner
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._receive = receive
        self._group: Hashable = None

    def send(self, event: Event) -> None:
        """Send an event to whoever asked."""
        if self.is_cancelled or self._is_ending:
            return
        self.has_text = self.has_text or isinstance(event, Text)
        self._is_ending = isinstance(event, (Answered, Failed, Done))
        try:
            if self._receive is None:
                self._events.put(event)
            else:
                self._receive(self, event)
        finally:
            # Not before: whoever waits for the end may be in another thread, and goes on at once.
            self.has_ended = self._is_ending

    def fail(self, error: BaseException) -> None:
        """Send the error in place of an answer."""
        self.send(Failed(self.ask.request.advised(error)))

    def cancel(self) -> None:
        """Note that nobody waits for the answer; one under way ends at its next token."""
        self.is_cancelled = True
        self._owner.forget(self)

    def events(self) -> Iterator[Event]:
        """The events, to the last one.

        Raises:
            Exception: why there is no answer.
        """
        event: Event | None = None
        while not isinstance(event, (Answered, Done)):
            while self._events.empty():
                if self.is_cancelled:
                    raise CancelledError(FORGOTTEN)
                self._owner.advance()
            event = self._events.get()
            if isinstance(event, Failed):
                raise event.error
            yield event

    def wait(self) -> None:
        """Wait for the end, where the events go elsewhere."""
        while not self.is_over:
            self._owner.advance()

    @property
    def is_over(self) -> bool:
        """Whether no more events come."""
        return self.has_ended or self.is_cancelled

    @property
    def is_opened(self) -> bool:
        """Whether its video can be decoded, as far as its header tells."""
        return self.video is None or (bool(self.video.reading.plans) and not self.is_broken)

    @property
    def is_ready(self) -> bool:
        """Whether its video is read, or on its way to the model."""
        return self.video is None or self.video.reading.is_ready

    @property
    def is_read(self) -> bool:
        """Whether its video isn't opened again: in windows, it may be."""
        return self.video is None or self.video.reading.has_frames

    @property
    def is_broken(self) -> bool:
        """Whether its video can't be read."""
        return self.video is not None and self.video.reading.error is not None

    @property
    def is_prepared(self) -> bool:
        """Whether it can be answered now."""
        video = self.video
        return video is None or video.session is not None or video.reading.windows is not None

    @property
    def group(self) -> Hashable:
        """Equal for questions that can be one batch; None for one that is answered alone."""
        video, request = self.video, self.ask.request
        if video is None or video.session is None or self.work is not None or self.ask.compare:
            return None
        session = video.session
        from dycoke_cli.engine.session import is_asked_alone

        if is_asked_alone(session, self.methods, request.generation):
            return None
        if self._group is None:
            # Each answer has its own number of tokens; a seed means nothing to greedy ones.
            generation = replace(request.generation, max_new_tokens=1, seed=None)
            shape = session.clip.frames.shape
            self._group = shape, tuple(self.methods), generation
        return self._group

    def fitting(self) -> int:
        """Number of such questions that fit into the free memory together."""
        assert self.video is not None
        assert self.video.session is not None
        ask, fitting = self.ask, self.video.session.fitting
        return min(fitting(ask.question, method, ask.history) for method in self.methods)

    def broken_by(self, error: BaseException) -> BaseException:
        """The error of its video, or else this one, as if the video had been read first.

        The same broken video gives the same error however fast the model loads.
        """
        if self.video is None:
            return error
        self.video.reading.wait_end()
        own = self.video.reading.error
        return own if isinstance(own, DycokeError) and own is not error else error

    def end_without_model(self) -> None:
        """Send the answer that needs no model, or why the video can't be read."""
        assert self.video is not None
        if self.video.reading.error is not None:
            self.fail(self.video.reading.error)
            return
        assert self.refuse is not None
        answer = self.refuse(self.ask, self.video.reading.clips[0])
        if self.streams:
            self.send(Text(answer.answer))
        if self.ask.compare:
            self.send(Progress("comparison"))
        self.send(Answered(answer))
