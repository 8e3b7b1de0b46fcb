"""The engine: questions are submitted to it, and answered.

    with Engine(request) as engine:
        [pending] = engine.submit(Ask("What happens?", request, (Footage("a.mp4", "a.mp4"),)))
        for event in pending.events(): ...

It alone decides what is read ahead, which questions are one batch, which encoded videos stay in
memory, and what is tried again. A question waits for its video, which `Readers` read, and then for
its turn. Turns go around the clients, so that a run of thousands doesn't hold up a single question.
Either a thread of the engine's own answers (`start`), or the one that waits for an answer.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dycoke_cli.ask import Ask, Progress, Warn
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.settling import settled
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.loop.asker import Asker, CancelledError, Client, Pending, Video
from dycoke_cli.loop.in_windows import check_windows, reads_in_windows, windows_for
from dycoke_cli.loop.reading import Readers, Reading
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.request import Request
from dycoke_cli.stock.quiet import faster_imports, silence_libraries
from dycoke_cli.video.clip import Fit, known

if TYPE_CHECKING:
    from dycoke_cli.engine.vision import VisualCache
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video.clip import WindowQueue
    from dycoke_cli.video.decoder import Decoder

T = TypeVar("T")
Loader = Callable[[Future[Fit]], "LoadedModel"]
"""Loads a model; the future receives the resize of its frames, as soon as that is known."""

BATCH_WAIT_S = 1.0
"""How long the questions of a run wait for more of their batch, while no video arrives."""
# Larger batches are no faster on a CPU, and hardly faster on an accelerator.
_MOST_ON_CPU, _MOST_ON_ACCELERATOR = 8, 32
# Questions of a run whose video is prepared for the model, as a multiple of the batch size.
_MOST_PREPARED = 4
_POLL_S, _END_S = 0.2, 10.0


def _unheard(stage: str, done: int, total: int) -> None:
    """Report the progress of loading to nobody."""


class Engine(Asker):
    """Answers questions with one model, batch by batch.

    Args:
        request: names the model; its limits hold for each video.
        load: loads the model; None for what the request names. Called in the thread that answers.
        loaded: the model, if it is loaded.
        unloaded: what is known of the model before.
        keep: encoded videos that stay in memory for questions that may come.
        batch_size: questions that are answered together; None chooses by the free memory.
        cache: whether encoded videos are kept on disk.
        readers: videos that are read at once; None chooses.
        counts: receives what is counted (`server.metrics.Metrics`).
        on_stage: receives the progress of loading, the first time.

    Attributes:
        loading: how the model is loaded; once it is, with the dtype that was chosen: if it is
            loaded again after idling, less memory may be free.
    """

    def __init__(
        self,
        request: Request,
        *,
        load: Loader | None = None,
        loaded: LoadedModel | None = None,
        unloaded: UnloadedModel | None = None,
        keep: int = 0,
        batch_size: int | None = None,
        cache: bool = False,
        readers: int | None = None,
        counts: object | None = None,
        on_stage: Callable[[str, int, int], None] = _unheard,
    ) -> None:
        super().__init__()
        self._request, self.unloaded, self._on_stage = request, unloaded, on_stage
        self.loading = request.loading
        self._load, self.loaded = load or self._load_named, loaded
        self._keep, self._batch_size, self.counts = keep, batch_size, counts
        self._caches = cache
        self._fit = Future[Fit]() if loaded is None else known(loaded.fit)
        self._readers = Readers(request.limits, self._planned, self._fit_of, self._notify, readers)
        self._videos: OrderedDict[Hashable, Video] = OrderedDict()
        self._calls: deque[Callable[[], None]] = deque()
        self._turns: deque[Hashable] = deque()
        self._fitting: dict[Hashable, int] = {}
        self._halved: int | None = None
        self._current: Sequence[Pending] = ()
        self._has_answered = self._is_warm = False
        self._thread: threading.Thread | None = None
        self._occupied, self._busy_since_s = 0, time.monotonic()
        self._closing = False
        self.count("set", "model_loaded", float(loaded is not None))

    # Asking

    def _carry(
        self, pendings: Sequence[Pending], *, decoded: bool, decoders: Sequence[Decoder]
    ) -> None:
        for pending in pendings:
            self.check(pending.ask.request, len(pending.ask.videos))
        for pending in pendings:
            if pending.ask.read is not None:
                self._find_video(pending, decoded, decoders)
            if (whose := pending.client.whose_turn) not in self._turns:
                self._turns.append(whose)

    def call(self, work: Callable[[LoadedModel], T]) -> T:
        """Have a function called with the model, when it is its turn; wait for what it returns.

        Raises:
            Exception: what it raises, or loading the model.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work(self.load()))
            except BaseException as error:
                done.set_exception(error)

        with self._changed:
            self._calls.append(run)
            self._changed.notify_all()
        while self._thread is None and not done.done():
            self.advance()
        return done.result()

    def wait_until_read(self, pending: Pending, timeout_s: float) -> bool:
        """Wait until the model can be asked about the videos of a question.

        Returns:
            Whether it can, or nobody wants it any more; false if the time is over.

        Raises:
            Exception: why they can't be read.
        """
        with self._changed:
            over = self._changed.wait_for(lambda: pending.is_ready or pending.is_over, timeout_s)
        if pending.read_error is not None:
            raise pending.read_error
        return over

    def check(self, request: Request, videos: int) -> None:
        """Refuse a request that can't be answered, by what is known without its videos."""
        check_windows(request, max(1, videos))
        if self.unloaded is not None:
            self.unloaded.check(request, videos)

    def holds(self, ask: Ask) -> bool:
        """See `Asker.holds`."""
        with self._changed:
            return (ask.read, False) in self._videos

    # Running

    def prepare(self) -> None:
        """Start the process that reads the next video, so that its imports run in parallel."""
        self._readers.prepare()

    def load(self) -> LoadedModel:
        """The model, which is loaded unless it is. Called in the thread that answers.

        Raises:
            ModelError: it can't be loaded.
            OutOfMemoryError: it doesn't fit.
        """
        if self.loaded is None:
            try:
                self.loaded = self._load(self._fit)
            except Exception as error:
                # It ends the readings that wait for it; later ones wait for the next attempt.
                failed, self._fit = self._fit, Future()
                if not failed.done():
                    failed.set_exception(error)
                raise
            if not self._fit.done():
                self._fit.set_result(self.loaded.fit)
            self.count("set", "model_loaded", 1.0)
        return self.loaded

    def begin_run(self) -> None:
        """See `Asker.begin_run`."""
        if self._thread is None:
            self.load()
            if self._caches:
                _visual_cache()
            if self._request.video_tokens is None:
                self.settled(self._request.method)

    def settled(self, method: Method, *, in_windows: bool = False) -> Method:
        """A method settled for the model.

        Args:
            method: as it was given.
            in_windows: whether it selects from several windows; see `ModelInfo.in_windows`.

        Raises:
            UsageError: the model doesn't support it.
        """
        from dycoke_cli.engine.supported import check_decoder

        loaded = self.load()
        method = settled(method, loaded.info.in_windows if in_windows else loaded.info)
        check_decoder(loaded.model.get_decoder(), method)
        return method

    def start(self) -> None:
        """Answer in a thread of the engine's own."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def advance(self) -> None:
        """See `Asker.advance`: answers one batch, by halves where that fails.

        Each question gets its last event, unless nobody waits for it.
        """
        batch, began = self._begin(), time.monotonic()
        if not batch:
            return
        from dycoke_cli.loop.answer_batch import ask

        parts = deque([batch])
        try:
            for pending in batch:
                self.count("observe", "wait_seconds", began - pending.since_s)
            while parts:
                part = [one for one in parts.popleft() if not one.is_cancelled]
                try:
                    if part and self._is_prepared(part[0]):
                        ask(self.load(), part, self.count)
                except CancelledError:
                    pass
                except Exception as error:
                    parts.extendleft(reversed(self._again(part, error)))
        finally:
            self._end(batch, time.monotonic() - began)

    def _begin(self) -> Sequence[Pending]:
        """The batch whose turn it is; none where there is none in a moment, or a call was made."""
        with self._changed:
            if self._thread not in (None, threading.current_thread()):
                self._changed.wait(_POLL_S)  # equivalent: the thread alone would be busy
                return ()
            if not self._changed.wait_for(self._has_work, _POLL_S):
                return ()
            call = self._calls.popleft() if self._calls else None
        if call is not None:
            call()
            return ()
        if self.loaded is None and not self._load_for_waiting():
            return ()
        self._prepare_videos()
        with self._changed:
            self._current = self._take()
            if not self._current:
                self._changed.wait(_POLL_S)
            return self._current

    def _end(self, batch: Sequence[Pending], seconds: float) -> None:
        """Note that a batch is answered."""
        for _ in batch:
            self.count("observe", "answer_seconds", seconds / len(batch))
        with self._changed:
            self._current = ()
            for pending in batch:
                self._release(pending)
            self._busy_since_s = time.monotonic()
            self._changed.notify_all()

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Count as busy within the block, even while nothing is asked: see `idle_s`."""
        with self._changed:
            self._occupied += 1
        try:
            yield
        finally:
            with self._changed:
                self._occupied -= 1
                self._busy_since_s = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since it last had something to do; 0 while it has."""
        with self._changed:
            if self._waiting or self._calls or self._current or self._occupied:
                return 0.0
            return time.monotonic() - self._busy_since_s

    def unload(self) -> None:
        """Free the model and all videos until the next question."""

        # Where it is answered, so that nothing uses the model.
        def release() -> None:
            if self._waiting:  # somebody came meanwhile
                return
            self.loaded, self._fit = None, Future[Fit]()
            self.free()
            gc.collect()
            self.count("set", "model_loaded", 0.0)

        if self.loaded is not None:
            with self._changed:
                self._calls.append(release)
                self._changed.notify_all()  # equivalent: it is seen a moment later anyway

    def free(self) -> bool:
        """See `Asker.free`."""
        with self._changed:
            unused = [key for key, video in self._videos.items() if not video.asked]
            for key in unused:
                self._close(key)
        self.count("set", "videos_held", float(len(self._videos)))
        return bool(unused)

    def drop(self, client: Client) -> None:
        """Keep no video that was read for a client, once nobody asks about it."""
        with self._changed:
            for video in self._videos.values():
                video.is_kept = video.is_kept and video.client is not client
            self._free_unused()

    def count(self, kind: str, name: str, *values: float, **labels: str) -> None:
        """Count something, where anybody wants to know."""
        if self.counts is not None:
            getattr(self.counts, kind)(name, *values, **labels)

    def close(self) -> None:
        """See `Asker.close`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for pending in self._current:  # ends their generation at the next token
            pending.is_cancelled = True
        self._readers.close()
        self._fit.cancel()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._closing:
            try:
                self.advance()
            except Exception as error:  # else whoever waits would wait for ever
                with self._changed:
                    waiting = [*self._waiting]
                for pending in waiting:
                    pending.fail(error)
                    self.forget(pending)

    def _has_work(self) -> bool:
        if self._calls or self._closing:
            return bool(self._calls)
        return any(self.loaded is None or pending.is_ready for pending in self._waiting)

    def _load_named(self, fit: Future[Fit]) -> LoadedModel:
        with faster_imports():
            from dycoke_cli.models.load import load

        silence_libraries()
        source = self._request.model if self.unloaded is None else self.unloaded.source
        loaded = load(source, on_stage=self._on_stage, fit=fit, **asdict(self.loading))
        self.loading = self.loading.with_dtype(loaded.model.dtype)
        if self.unloaded is not None:
            self.unloaded = replace(self.unloaded, info=loaded.info)
        self._on_stage = _unheard
        return loaded

    def _load_for_waiting(self) -> bool:
        """Load the model, unless all videos of what waits are broken; whether it is loaded."""
        with self._changed:
            waiting = [*self._waiting]
        if all(pending.read_error is not None for pending in waiting):
            for pending in waiting:
                if pending.read_error is not None and pending.is_ready:  # else it is read again
                    pending.fail(pending.read_error)
                    self.forget(pending)
            return False
        with self._changed:  # torch, which takes seconds, isn't imported for a video that is broken
            if not self._changed.wait_for(lambda: any(p.is_opened for p in waiting), _POLL_S):
                return False
        try:
            self.load()
        except Exception as error:
            for pending in waiting:
                pending.fail(pending.broken_by(error))
                self.forget(pending)
            return False
        return True  # equivalent: the next round would go on

    # Answering

    def _again(self, batch: Sequence[Pending], error: Exception) -> list[Sequence[Pending]]:
        """The questions of a failed batch that are asked again, as batches; the others fail."""
        for pending in batch:
            if pending.has_text and not pending.has_ended:  # it would be shown twice
                pending.fail(error)
        left = [one for one in batch if not one.has_ended]
        # Encoded videos that nobody asks about may have the memory that is missing.
        freed = isinstance(error, OutOfMemoryError) and self.free()
        if len(batch) == 1 and not freed:
            for pending in left:
                pending.fail(error)
            return []
        # One question may have failed the whole batch, or the memory is too small for it: each half
        # is tried alone, so that only the question that fails has no answer.
        half = (len(left) + 1) // 2
        if isinstance(error, OutOfMemoryError) and len(batch) > 1:  # fewer together from now on
            self._halved = min(len(batch) // 2, self._halved or len(batch))
        return [left[:half], left[half:]]

    def _is_prepared(self, first: Pending) -> bool:
        """Prepare the first question of a batch; whether the batch can be asked."""
        from dycoke_cli.loop.answer_batch import warm_up, warn_of_memory

        self.count("add", "batches_total")
        if first.video is not None and not self._is_encoded_for(first):
            return False
        if first.video is not None and first.work is None:
            if not (first.client.bulk or self._has_answered):
                warn_of_memory(first)
            self._has_answered = True
            if first.ask.compare and not self._is_warm:
                # Else the first of the two timings would include what a process does only once.
                warm_up(first)
                self._is_warm = True
        return True

    def _is_encoded_for(self, pending: Pending) -> bool:
        """Encode a video that comes in windows; whether the question can be asked about it."""
        from dycoke_cli.loop.answer_batch import open_in_windows

        video, request = pending.video, pending.ask.request
        assert video is not None
        windows = video.reading.windows
        if windows is None:
            return True
        several = len(video.reading.plans[0].times_s) > windows.size
        method = self.settled(request.method, in_windows=several)
        pending.methods = [method]
        if video.session is None:
            reuse, cache = self._keeps(video), self._cache_for(video)
            open_in_windows(video, pending, method, self.load(), cache, reuse=reuse)
        windowed = pending.session.windowed
        if windowed is not None and windowed.method != method:
            self.read_again(pending)
            return False
        return True

    # Reading

    def _find_video(self, pending: Pending, decoded: bool, decoders: Sequence[Decoder]) -> None:
        """Give a question its video, which is read unless it is there."""
        key = pending.ask.read, decoded
        video = self._videos.get(key)
        if video is None or decoders:
            self._read(key, pending, decoded, decoders)
            return
        self.count("add", "videos_reused_total")
        self._videos.move_to_end(key)
        video.is_kept = video.is_kept or not pending.client.bulk
        video.asked.append(pending)
        pending.video = video
        if video.session is not None:
            pending.send(video.seen)

    def read_again(self, pending: Pending) -> None:
        """Read a question's video for it alone: it was read in windows, by another method."""
        with self._changed:
            assert pending.video is not None
            self._release(pending)
            key = (pending.video.key, pending.ask.request.method)
            self._read(key, pending, pending.video.reading.decoded)
            self._waiting.append(pending)

    def _read(
        self, key: Hashable, pending: Pending, decoded: bool, decoders: Sequence[Decoder] = ()
    ) -> None:
        """Read a question's video. One that has its key goes once nobody asks about it."""
        if (earlier := self._videos.pop(key, None)) is not None:
            earlier.is_kept = False
            self._videos[object()] = earlier  # without a place its frames were never freed
            self._free_unused()
        client = pending.client
        reading = Reading(
            pending.ask, decoded, urgent=not client.bulk, decoders=decoders, owner=client.owner
        )
        video = pending.video = self._videos[key] = Video(key, reading, client)
        video.asked.append(pending)
        reading.send = video.send
        self._readers.read(reading)

    def _planned(self, reading: Reading) -> WindowQueue | None:
        """Where the frames of an opened video are handed on; None where all are kept.

        Raises:
            UsageError: the video can't be asked about.
        """
        unloaded, ask = self.unloaded, reading.ask
        new = ask.request.generation.max_tokens
        whole = reading.decoded or ask.compare or ask.measured

        def check_whole(plan: Any) -> None:
            if unloaded is not None:
                unloaded.check_plan(plan, ask.request.method, new)

        windows = windows_for(ask.request, reading.plans, check_whole, whole=whole)
        if windows is not None and unloaded is not None:
            unloaded.check_room(reading.plans[0], new)
        if windows is not None and ask.request.video_tokens is None:
            reading.warnings = (reads_in_windows(len(reading.plans[0].times_s), windows),)
            reading.send(Warn(*reading.warnings))
        return windows

    def _fit_of(self, reading: Reading) -> Future[Fit] | None:
        """Resize of the frames; None keeps them as they are decoded."""
        # Frames of a family outside the table are kept as decoded; that limits their number.
        unlisted = self.unloaded is not None and self.unloaded.listed is None
        return None if reading.decoded or (unlisted and self.loaded is None) else self._fit

    def _notify(self, reading: Reading) -> None:
        """Note that a reading is ready or has ended."""
        if self.loaded is None and reading.clips and reading.windows is None:
            # Until now the terminal's one line showed the reading.
            local = self.unloaded is None or self.unloaded.local
            reading.send(Progress("load" if local else "fetch"))
        with self._changed:
            for video in self._videos.values():
                if video.reading is reading:
                    for pending in video.asked:
                        pending.client.arrived_s = time.monotonic()
            self._changed.notify_all()

    def _prepare_videos(self) -> None:
        """Make the inputs of the model of what was read, as far as it is asked about soon."""
        from dycoke_cli.loop.answer_batch import open_video

        with self._changed:
            waiting = [*self._waiting]
        for pending in waiting:
            try:
                if not pending.methods:  # before its frames are waited for
                    pending.methods = [self.settled(pending.ask.request.method)]
            except Exception as error:
                pending.fail(error)
                self.forget(pending)
        prepared = {p.video for p in waiting if p.video is not None and p.video.session is not None}
        for pending in waiting:
            video = pending.video
            if pending.has_ended or video is None or not pending.is_ready:
                continue
            if pending.read_error is not None:
                pending.fail(pending.read_error)
                self.forget(pending)
                continue
            if video.session is None and video.reading.windows is None:
                if pending.client.bulk and len(prepared) >= _MOST_PREPARED * self._most_of(
                    pending.client
                ):
                    continue
                try:
                    cache = self._cache_for(video)
                    open_video(video, self.load(), cache, reuse=self._keeps(video))
                except Exception as error:
                    for other in [*video.asked]:
                        other.fail(error)
                        self.forget(other)
                    continue
                prepared.add(video)

    def _keeps(self, video: Video) -> bool:
        """Whether what is computed of a video is kept for another question."""
        if video.reading.ask.measured:
            return False
        return len(video.asked) > 1 or (self._keep > 0 and video.is_kept)

    def _cache_for(self, video: Video) -> VisualCache | None:
        """Where a video is kept on disk once it is encoded; None for nowhere."""
        if not self._caches and not any(one.client.caches for one in video.asked):
            return None
        return _visual_cache()

    # Taking turns

    def _take(self) -> list[Pending]:
        """The questions whose turn it is: one, or several that are one batch."""
        for _ in range(len(self._turns)):
            whose = self._turns.popleft()
            clients = [one.client for one in self._waiting if one.client.whose_turn == whose]
            if clients:  # or until it asks again
                self._turns.append(whose)
            for client in dict.fromkeys(clients):
                if batch := self._batch_of(client):
                    taken = set(batch)
                    self._waiting = [one for one in self._waiting if one not in taken]
                    return batch
        return []

    def _batch_of(self, client: Client) -> list[Pending]:
        ready = [one for one in self._waiting if one.client is client and one.is_prepared]
        groups: dict[Hashable, list[Pending]] = {}
        for pending in ready:
            group = pending.group
            if group is None:
                if groups and not client.bulk:  # in their order
                    continue
                return [pending]
            groups.setdefault(group, []).append(pending)
            if client.bulk and len(groups[group]) == self._together(group, pending):
                return groups[group]
        if not ready or (client.bulk and not self._is_stale(client, len(ready))):
            return []  # equivalent: None is no batch either
        group = max(groups, key=lambda one: len(groups[one])) if client.bulk else ready[0].group
        batch = groups[group]
        others = (one for one in self._waiting if one.client is not client and one.is_prepared)
        batch += [one for one in others if one.group == group]
        return batch[: self._together(group, batch[0])]

    def _is_stale(self, client: Client, ready: int) -> bool:
        """Whether a partial batch is better than an idle model."""
        coming = any(one.client is client and not one.is_ready for one in self._waiting)
        return (
            (client.is_over and not coming)
            or self._readers.is_full
            or ready >= _MOST_PREPARED * self._most_of(client)
            or time.monotonic() - client.arrived_s >= BATCH_WAIT_S  # equivalent: to a nanosecond
        )

    def _most_of(self, client: Client) -> int:
        """Number of questions of a client that are answered together at most."""
        most = client.batch_size or self._batch_size
        if most is None:
            cpu = self.load().input_device.type == "cpu"
            most = _MOST_ON_CPU if cpu else _MOST_ON_ACCELERATOR
        return most if self._halved is None else min(most, self._halved)

    def _together(self, group: Hashable, pending: Pending) -> int:
        """Number of questions of a group that are answered together."""
        most = self._most_of(pending.client)
        if pending.client.batch_size is not None or self._batch_size is not None:
            return most
        # Estimated once per group: its videos have one shape, and so about one size.
        if group not in self._fitting:
            self._fitting[group] = pending.fitting()
        return min(most, self._fitting[group])

    def _release(self, pending: Pending) -> None:
        """Note that a question is done with its video; unused ones are freed."""
        video = pending.video
        if video is None or pending not in video.asked or pending in self._waiting:
            return
        video.asked.remove(pending)
        if not video.asked:
            self._free_unused()

    def _free_unused(self) -> None:
        """Free the videos that nobody asks about, but the last ones that are kept."""
        unused = {key: one for key, one in self._videos.items() if not one.asked}
        kept = [key for key, one in unused.items() if one.is_kept and one.session is not None]
        for key in set(unused).difference(kept[max(0, len(kept) - self._keep) :]):
            self._close(key)
        self.count("set", "videos_held", float(len(self._videos)))

    def _close(self, key: Hashable) -> None:
        """Free a video."""
        video = self._videos.pop(key)
        self._readers.release(video.reading)
        video.close()


def _visual_cache() -> VisualCache:
    """Encoded videos on disk; raises where there can't be any."""
    from dycoke_cli.engine.vision import VisualCache

    return VisualCache()
