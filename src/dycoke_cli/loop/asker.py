"""What answers questions: the engine of this process, or one that is reached by a connection."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar

from dycoke_cli.answer.answer import Answer, ReportedSubtitles
from dycoke_cli.ask import Answered, Ask, Event, Failed, Refuse, Warn
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.loop.pending import FORGOTTEN, CancelledError, Client, Pending, Receive, Work

if TYPE_CHECKING:
    from dycoke_cli.loop.unloaded_model import UnloadedModel
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video.decoder import Decoder

AHEAD_VIDEOS = 64
"""Videos of a run that are asked about at once; each is hashed before."""


class AskerEndedError(DycokeError):
    """What answers has ended: no question is answered any more."""


def cancel(pendings: Iterable[Pending]) -> None:
    """End questions that nobody waits for."""
    for pending in pendings:
        pending.send(Failed(CancelledError(FORGOTTEN)))


E = TypeVar("E", bound=Event)


def renamed(event: E, names: Sequence[tuple[str, str]]) -> E:
    """An event of another process, with paths as they were given.

    Args:
        names: of files, escaped: as they are called there, and as they were given.
    """

    def said(sentence: str) -> str:
        for there, given in names:
            sentence = sentence.replace(there, given)
        return sentence

    def named(answer: Answer) -> Answer:
        answer = replace(answer, warnings=tuple(map(said, answer.warnings)))
        if isinstance(answer.subtitles, ReportedSubtitles):
            subtitles = replace(answer.subtitles, source=said(answer.subtitles.source))
            answer = replace(answer, subtitles=subtitles)
        if isinstance(answer.compared_to, Answer):
            answer = replace(answer, compared_to=named(answer.compared_to))
        return answer

    if isinstance(event, Warn):
        return replace(event, text=said(event.text))
    if isinstance(event, Failed) and isinstance(event.error, DycokeError):
        return replace(event, error=type(event.error)(said(str(event.error))))
    if isinstance(event, Answered):
        return replace(event, answer=named(event.answer))
    return event


class Asker(ABC):
    """Answers questions, and keeps the book of those that wait. A context manager, which ends what
    is under way. A subclass only carries them to whoever answers.

    Attributes:
        unloaded: what is known of the model of this process before it is loaded, if anything is.
        loaded: the model of this process; None while it isn't loaded, or is in another one.
        elsewhere: what answers in place of this process, such as "a remote server".
        ahead_videos: videos of a run that are asked about at once.
        searches: whether it takes questions whose times are searched (`Ask.when_s`).
    """

    unloaded: UnloadedModel | None = None
    loaded: LoadedModel | None = None
    elsewhere: str | None = None
    ahead_videos = AHEAD_VIDEOS
    searches = False

    def __init__(self) -> None:
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
        refuse: Refuse | None = None,
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
            refuse: gives the answer without the model, once the video is read.
            decoded: whether frames are kept as they are decoded, to be shown.
            decoders: to read with, one for each video.

        Raises:
            UsageError: the model doesn't support what is asked for, as far as that is known; or
                whoever answers it can't have the other arguments.
        """
        local = {"work": work, "refuse": refuse, "decoders": decoders}
        names = [name for name, one in local.items() if one]
        if self.elsewhere is not None and names:
            raise UsageError(
                f"{self.elsewhere} answers questions alone: leave out {' and '.join(names)}, or "
                "ask a model in this process, with --no-server and without --server"
            )
        client = client or Client()
        pendings = [
            Pending(self, ask, client, on_event, streams=streams, work=work, refuse=refuse)
            for ask in asks
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
                self._forgotten(pending)
            self._changed.notify_all()

    def _forgotten(self, pending: Pending) -> None:  # noqa: B027
        """Free what was kept for a question that waited; `_changed` is held."""

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

    def ends_run(self, error: BaseException) -> BaseException | None:
        """What ends a run, of an error that every other question would have, too; else None."""
        return error if isinstance(error, AskerEndedError) else None

    @abstractmethod
    def close(self) -> None:
        """End what is under way."""

    def begin_run(self) -> None:  # noqa: B027
        """Prepare for many questions; nothing has to be done where others answer.

        Raises:
            ModelError: the model can't be loaded.
            UsageError: it doesn't support the method.
        """

    def holds(self, ask: Ask, *, decoded: bool = False) -> bool:
        """Whether the videos of a question are in memory, or on their way there.

        Args:
            ask: the question.
            decoded: see `submit`.
        """
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
