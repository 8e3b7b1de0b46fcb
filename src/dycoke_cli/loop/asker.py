"""Questions that wait, and what answers them: an engine of this process, or another one elsewhere.

An `Asker` keeps the book: which questions wait, about which videos, and who asks. A subclass only
carries them to whoever answers.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from dycoke_cli.ask import Answered, Ask, Done, Event, Failed, Seen, Text
from dycoke_cli.compression.method import Method
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.loop.reading import Reading

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.loop.unloaded_model import UnloadedModel
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video.decoder import Decoder


Work = Callable[["VideoSession", Callable[[Event], None]], Any]
"""Something else than an answer that is made of a video; may send events."""
Receive = Callable[["Pending", Event], None]
"""Receives an event of a question."""


FORGOTTEN = "nobody waits for the answer"


class CancelledError(DycokeError):
    """Nobody waits for an answer; ends what is done for it."""


class Client:
    """Somebody who asks: questions of several clients are answered in turns.

    Args:
        batch_size: questions that are answered together; None leaves it to the engine.
        owner: equal for those that share a turn, and what one of them may have read at once.

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

    @property
    def whose_turn(self) -> Hashable:
        """What questions are answered in turns of."""
        return self if self.owner is None else self.owner


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
        number: of this question among those of its asker, for another process.
        video: what it is about; None without a video.
        methods: that of the question, settled for the model; empty before it is.
        is_cancelled: whether nobody waits for the answer.
        has_ended: whether the last event was sent and received.
        has_text: whether a part of the answer was sent.
        since_s: when it was asked.
    """

    def __init__(
        self,
        asker: Asker,
        ask: Ask,
        client: Client,
        receive: Receive | None,
        *,
        streams: bool,
        work: Work | None,
    ) -> None:
        self.ask, self.client, self.number = ask, client, next(asker.numbers)
        self.streams, self.work = streams, work
        self.video: Video | None = None
        self.methods: Sequence[Method] = ()
        self.is_cancelled = self.has_ended = self.has_text = False
        self._last: Answered | Done | Failed | None = None
        self.since_s = time.monotonic()
        self._asker = asker
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._receive = receive
        self._group: Hashable = None

    def send(self, event: Event) -> None:
        """Send an event to whoever asked."""
        if self.is_cancelled or self._last is not None:
            return
        self.has_text = self.has_text or isinstance(event, Text)
        if isinstance(event, (Answered, Done, Failed)):
            self._last = event
        try:
            if self._receive is None:
                self._events.put(event)
            else:
                self._receive(self, event)
        finally:
            # Not before: whoever waits for the end may be in another thread, and goes on at once.
            self.has_ended = self._last is not None

    def fail(self, error: BaseException) -> None:
        """Send the error in place of an answer."""
        self.send(Failed(error))

    def cancel(self) -> None:
        """Note that nobody waits for the answer; one under way ends at its next token."""
        self.is_cancelled = True
        self._asker.forget(self)

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
                self._asker.advance()
            event = self._events.get()
            if isinstance(event, Failed):
                raise event.error
            yield event

    def wait(self) -> Answered | Done:
        """Wait for the last event, where the events go elsewhere.

        Raises:
            Exception: why there is no answer.
        """
        while not self.is_over:
            self._asker.advance()
        if isinstance(self._last, Failed):
            raise self._last.error
        if self._last is None:
            raise CancelledError(FORGOTTEN)
        return self._last

    @property
    def is_over(self) -> bool:
        """Whether no more events come."""
        return self.has_ended or self.is_cancelled

    @property
    def is_opened(self) -> bool:
        """Whether its video can be decoded, as far as its header tells."""
        return self.video is None or (bool(self.video.reading.plans) and not self.read_error)

    @property
    def is_ready(self) -> bool:
        """Whether its video is read, or on its way to the model."""
        return self.video is None or self.video.reading.is_ready

    @property
    def is_read(self) -> bool:
        """Whether its video isn't opened again: in windows, it may be."""
        reading = None if self.video is None else self.video.reading
        return reading is None or (reading.is_read and reading.windows is None)

    @property
    def read_error(self) -> BaseException | None:
        """Why its video can't be read; None where it can."""
        return None if self.video is None else self.video.reading.error

    @property
    def is_prepared(self) -> bool:
        """Whether it can be answered now; not if it came while others were prepared."""
        if not self.methods:
            return False
        video = self.video
        return video is None or video.session is not None or video.reading.windows is not None

    @property
    def session(self) -> VideoSession:
        """What the model made of its videos, which are prepared."""
        assert self.video is not None
        assert self.video.session is not None
        return self.video.session

    @property
    def group(self) -> Hashable:
        """Equal for questions that can be one batch; None for one that is answered alone."""
        video, request = self.video, self.ask.request
        if video is None or video.session is None or self.work is not None or self.ask.compare:
            return None
        # A batch prefills the video for each question; options cost only their question behind it.
        shares = len(video.asked) > 1 and not (self.client.bulk or self.ask.measured)
        if shares and request.generation.typed is not None:
            return None
        session = video.session
        from dycoke_cli.engine.session import is_asked_alone

        if is_asked_alone(session, self.methods, request.generation):
            return None
        if self._group is None:
            # Each answer has its own number of tokens; a seed means nothing to greedy ones.
            generation = replace(request.generation, max_tokens=1, seed=None)
            shape = session.clip.frames.shape
            self._group = shape, tuple(self.methods), generation
        return self._group

    def fitting(self) -> int:
        """Number of such questions that fit into the free memory together."""
        ask, fitting = self.ask, self.session.fitting
        return min(fitting(ask.question, method, ask.history) for method in self.methods)

    def broken_by(self, error: BaseException) -> BaseException:
        """The error of its video, or else this one, as if the video had been read first.

        The same broken video gives the same error however fast the model loads.
        """
        if self.video is not None:
            self.video.reading.wait_end()
        own = self.read_error
        return own if isinstance(own, DycokeError) and own is not error else error


class AskerEndedError(DycokeError):
    """What answers has ended: no question is answered any more."""


def cancel(pendings: Iterable[Pending]) -> None:
    """End questions that nobody waits for."""
    for pending in pendings:
        pending.send(Failed(CancelledError(FORGOTTEN)))


class Asker(ABC):
    """Answers questions, and keeps the book of those that wait. A context manager, which ends what
    is under way. A subclass only carries them to whoever answers.

    Attributes:
        unloaded: what is known of the model of this process before it is loaded, if anything is.
        loaded: the model of this process; None while it isn't loaded, or is in another one.
        elsewhere: what answers in place of this process, such as "a remote server".
        ahead_videos: videos of a run that are asked about at once; each is hashed before.
        searches: whether it takes questions whose times are searched (`Ask.when_s`).
    """

    unloaded: UnloadedModel | None = None
    loaded: LoadedModel | None = None
    elsewhere: str | None = None
    ahead_videos = 64
    searches = False

    def __init__(self) -> None:
        self.numbers = itertools.count()  # of the questions
        self._waiting: list[Pending] = []  # for their turn
        self._changed = threading.Condition(threading.RLock())  # guards them

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        *asks: Ask,
        client: Client | None = None,
        on_event: Receive | None = None,
        streams: bool = True,
        work: Work | None = None,
        decoded: bool = False,
        decoders: Sequence[Decoder] = (),
    ) -> list[Pending]:
        """Read the videos of questions unless that is done, and answer when it is their turn.

        Args:
            asks: several about one video are known to be so before the first is answered.
            client: who asks; None for somebody new.
            on_event: called with each event, in the thread that answers or reads; None keeps them
                for `Pending.events`.
            streams: whether the text is sent as it is generated.
            work: made of the video in place of an answer; its result is sent as `Done`.
            decoded: whether frames are kept as they are decoded, to be shown.
            decoders: to read with, one for each video.

        Raises:
            UsageError: the model doesn't support what is asked for, as far as that is known; or
                whoever answers it can't have the other arguments.
        """
        local = {"work": work, "decoded": decoded, "decoders": decoders}
        names = [name for name, one in local.items() if one]
        if self.elsewhere is not None and names:
            raise UsageError(
                f"{self.elsewhere} answers questions alone: leave out {' and '.join(names)}, or "
                "ask a model in this process, with --no-server and without --server"
            )
        client = client or Client()
        pendings = [
            Pending(self, ask, client, on_event, streams=streams, work=work) for ask in asks
        ]
        with self._changed:
            self._carry(pendings, decoded=decoded, decoders=decoders)
            self._waiting += pendings
            self._changed.notify_all()
        return pendings

    @abstractmethod
    def _carry(
        self, pendings: Sequence[Pending], *, decoded: bool, decoders: Sequence[Decoder]
    ) -> None:
        """Begin with questions of one client, which wait once this returns; `_changed` is held."""

    @abstractmethod
    def advance(self) -> None:
        """Answer a batch, or wait a moment for whoever does.

        Raises:
            DycokeError: nothing more is answered.
        """

    def forget(self, pending: Pending) -> None:
        """Take a question away: nobody waits for it, or it has ended."""
        with self._changed:
            if pending in self._waiting:
                self._waiting.remove(pending)
                self._release(pending)
            self._changed.notify_all()

    def _release(self, pending: Pending) -> None:  # noqa: B027
        """Free what was kept for a question that is over; `_changed` is held."""

    def leave(self, client: Client) -> None:
        """Forget the questions of a client that wait: each fails with a `CancelledError`."""
        with self._changed:
            left = [one for one in self._waiting if one.client is client]
            for pending in left:
                self.forget(pending)
        cancel(left)

    def videos_of(self, client: Client) -> int:
        """Number of videos that questions of a client wait for."""
        with self._changed:
            return len({one.ask.read for one in self._waiting if one.client is client})

    @abstractmethod
    def close(self) -> None:
        """End what is under way."""

    def begin_run(self) -> None:  # noqa: B027
        """Prepare for many questions; nothing has to be done where others answer.

        Raises:
            ModelError: the model can't be loaded.
            UsageError: it doesn't support the method.
        """

    def holds(self, ask: Ask) -> bool:
        """Whether the videos of a question are in memory, or on their way there."""
        return False

    def free(self) -> bool:
        """Free the videos that nobody asks about now; whether there were any."""
        return False

    def answers(
        self,
        groups: Iterable[Sequence[Ask]],
        stopping: Callable[[], bool] = lambda: False,
        on_load: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Ask, Answered | Failed]]:
        """Answer many questions, in the order in which they are finished.

        Args:
            groups: questions about one video; drawn in another thread, as there is room.
            stopping: whether only the answers under way are still wanted.
            on_load: called once the model is loaded.

        Raises:
            Exception: drawing the questions failed.
            ModelError: the model can't be loaded.
            UsageError: it doesn't support the method.
        """
        run = _ManyAsks(self, groups)
        try:
            self.begin_run()
            on_load()
            while not run.is_over:
                if stopping():
                    run.stop()
                if run.done:
                    yield run.done.popleft()
                else:
                    self.advance()
            run.check()
        finally:
            run.stop()


class _ManyAsks:
    """Many questions of one client, drawn as there is room.

    Attributes:
        done: questions with their last events.
    """

    def __init__(self, asker: Asker, groups: Iterable[Sequence[Ask]]) -> None:
        self.done: deque[tuple[Ask, Answered | Failed]] = deque()
        self._asker, self._groups = asker, groups
        self._client = Client(bulk=True)
        self._open = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._stopped = False
        threading.Thread(target=self._draw, name="drawing", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        with self._changed:
            return self._client.is_over and not self._open and not self.done

    def check(self) -> None:
        """Raise what went wrong while questions were drawn."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Draw no more, and forget what waits. Answers under way still come.

        The thread isn't joined: it may be in a long read.
        """
        with self._changed:
            self._stopped = self._client.is_over = True
            self._changed.notify_all()
        self._asker.leave(self._client)

    def _draw(self) -> None:
        try:
            for asks in self._groups:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._has_room())
                    if self._stopped:
                        return
                    self._open += len(asks)
                    submit, client = self._asker.submit, self._client
                    submit(*asks, client=client, on_event=self._receive, streams=False)
        except BaseException as error:
            self._failure = error
        finally:
            self._client.is_over = True

    def _has_room(self) -> bool:
        return self._asker.videos_of(self._client) < self._asker.ahead_videos

    def _receive(self, pending: Pending, event: Event) -> None:
        if isinstance(event, (Answered, Failed)):
            if not (isinstance(event, Failed) and isinstance(event.error, CancelledError)):
                self.done.append((pending.ask, event))
            with self._changed:
                self._open -= 1
                self._changed.notify_all()
