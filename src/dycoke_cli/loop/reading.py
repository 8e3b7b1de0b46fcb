"""Reads videos ahead of the model, each in a process of its own.

A video can crash or hang the process that decodes it. That costs an attempt at this video and
nothing else. Videos that somebody waits for come before those of long runs.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from dycoke_cli.ask import Ask, Event, Progress
from dycoke_cli.models.speech import with_speech
from dycoke_cli.resources import free_main_memory, usable_cpus
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.video.clip import ClosedError, WindowQueue
from dycoke_cli.video.decoder import CrashedError, Decoder
from dycoke_cli.video.limits import Limits, check_size

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Clip, Fit, FramePlan

_MOST_VIDEOS = 64
_MOST_BYTES = 512 * 1024**2
_MOST_DECODERS = 8
# A decoder takes about 100 MB before it has opened a video, and one of 4K some hundreds more.
_BYTES_PER_DECODER = 512 * 1024**2
# Fraction of the free memory for frames that are being decoded: the transfer to this process takes
# as much again, and the model needs memory for them.
_SHARE_OF_FREE = 0.25
_UNKNOWN_FREE = 8 * 1024**3


class ClosingError(Exception):
    """Nobody waits for the video any more; ends its reading."""


class Reading:
    """The videos of a question while they are read, and once they were.

    Attributes:
        ask: the first question about them.
        send: receives progress.
        decoded: whether frames are kept as they are decoded, to be shown.
        urgent: whether somebody waits for the answer.
        decoders: to read with, one for each video; empty for usual ones.
        owner: see `Client`.
        plans: of the frames; empty until the videos are opened.
        windows: where the frames are handed on while they are decoded; None where all are kept.
        clips: the frames, once they are read. In windows only their shape.
        warnings: about how they are read.
        error: why there are none.
        seconds: to read them, without `waited_s`, in which they waited for memory or the model.
        is_closing: whether nobody waits for them.
    """

    def __init__(
        self,
        ask: Ask,
        decoded: bool,
        *,
        urgent: bool,
        decoders: Sequence[Decoder] = (),
        owner: Hashable = None,
    ) -> None:
        self.ask, self.decoded, self.urgent, self.owner = ask, decoded, urgent, owner
        self.send: Callable[[Event], None] = lambda event: None
        self.decoders: list[Decoder] = [*decoders]
        self.plans: list[FramePlan] = []
        self.windows: WindowQueue | None = None
        self.clips: tuple[Clip, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.error: BaseException | None = None
        self.seconds = self.waited_s = 0.0
        self.is_read = False
        self.is_closing = False
        self._ended = threading.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the model can take the frames, or nobody can."""
        return self.is_read or self.windows is not None

    @property
    def nbytes(self) -> int:
        """Size of the frames in memory."""
        return sum(clip.frames.nbytes for clip in self.clips if clip.window is None)

    def end(self, error: BaseException | None = None) -> None:
        """Note that nothing more is read, because of an error where there is one."""
        self.error = error or self.error
        self.is_read = True
        self._ended.set()

    def wait(self) -> None:
        """Wait until the frames are read."""
        self.wait_end()
        if self.error is not None:
            raise self.error

    def wait_end(self) -> None:
        """Wait until nothing more is read."""
        self._ended.wait()

    def close(self) -> None:
        """End the reading: its processes, and whoever waits for its windows."""
        self.is_closing = True
        if self.is_read:
            return
        if self.windows is not None:
            self.windows.close()
        for decoder in self.decoders:
            decoder.stop()


class Readers:
    """Threads that read videos, each with decoder processes.

    Args:
        windows: whether the frames of an opened video are handed on in windows; raises for videos
            that can't be asked about.
        fit: resize of the model for a reading, as soon as that is known; None to keep frames as
            decoded.
        most: number of videos of an owner that are read at once, and half of those of all; None
            chooses it by CPUs and memory.
    """

    def __init__(
        self,
        limits: Limits,
        windows: Callable[[Reading], WindowQueue | None],
        fit: Callable[[Reading], Future[Fit] | None],
        on_change: Callable[[Reading], None],
        most: int | None = None,
    ) -> None:
        self._limits, self._windows, self._fit, self._on_change = limits, windows, fit, on_change
        self._most = most or usual_decoders()
        self._queue: deque[Reading] = deque()
        self._under_way: set[Reading] = set()
        self._held: set[Reading] = set()  # their frames are in memory
        # Memory that the decoders of each reading were admitted with, and readings that wait.
        self._busy: dict[Reading, dict[Decoder, int]] = {}
        self._waiting: deque[Reading] = deque()
        self._ready_decoder: Decoder | None = None
        self._changed = threading.Condition()
        self._in_windows = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closing = False

    def prepare(self) -> None:
        """Start the process that reads the next video, so that its imports run in parallel."""
        if self._ready_decoder is None:
            self._ready_decoder = Decoder(self._limits)
            self._ready_decoder.start()

    def read(self, reading: Reading) -> None:
        """Read videos when it is their turn."""
        with self._changed:
            self._queue.append(reading)
            if self._idle < len(self._queue) and len(self._threads) < 2 * self._most:
                thread = threading.Thread(target=self._work, name="reading", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()

    def release(self, reading: Reading) -> None:
        """Note that the frames of a reading aren't needed any more."""
        with self._changed:
            self._held.discard(reading)
            if reading in self._queue:
                self._queue.remove(reading)
                reading.end(ClosingError())
            self._changed.notify_all()
        reading.close()

    @property
    def is_full(self) -> bool:
        """Whether so much was read that nothing more is begun."""
        nbytes = sum(reading.nbytes for reading in self._held)
        return len(self._held) >= _MOST_VIDEOS or nbytes >= _MOST_BYTES

    def close(self) -> None:
        """End all threads and processes. The threads aren't joined: one may be in a long read."""
        with self._changed:
            self._closing = True
            for reading in self._under_way:
                reading.close()
            while self._queue:
                self._queue.pop().end(ClosingError())
            if self._ready_decoder is not None:
                self._ready_decoder.stop()
            self._changed.notify_all()

    def _work(self) -> None:
        """Read videos, one after the other; the body of each thread."""
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._closing or self._next() is not None)
                self._idle -= 1
                reading = self._next()
                if self._closing or reading is None:
                    return
                self._queue.remove(reading)
                self._under_way.add(reading)
                self._held.add(reading)
            self._read(reading)
            with self._changed:
                self._under_way.discard(reading)
                if reading.is_closing:
                    self._held.discard(reading)
                self._changed.notify_all()
            reading.end()
            self._on_change(reading)
            del reading  # else its frames stay in memory until the next one comes

    def _next(self) -> Reading | None:
        """The first one that may begin. Slow videos of one owner leave room for those of others."""
        owners = Counter(reading.owner for reading in self._under_way)
        return next(
            (
                reading
                for reading in sorted(self._queue, key=lambda one: not one.urgent)
                if owners[reading.owner] < self._most and (reading.urgent or not self.is_full)
            ),
            None,
        )

    def _read(self, reading: Reading) -> None:
        count = len(reading.ask.videos)
        limits = reading.ask.request.limits
        ready, usual = self._ready_decoder, limits == self._limits
        if not reading.decoders and ready is not None and usual:
            reading.decoders, self._ready_decoder = [ready], None
        reading.decoders += [Decoder(limits) for _ in range(count - len(reading.decoders))]
        with self._changed:
            self._busy[reading] = {}
        try:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    self._read_once(reading)
                    return
                except CrashedError as crash:
                    if reading.is_closing or self._closing:  # it didn't crash: it was stopped
                        raise ClosingError from crash
                    reading.error = CrashedError(crash.name, crash.gone, attempt)
                    if reading.windows is not None:  # its first windows are taken
                        return
        except ClosedError:
            reading.error = reading.error or ClosingError()
        except (Exception, KeyboardInterrupt) as error:
            reading.error = error
        finally:
            with self._changed:
                del self._busy[reading]
                self._changed.notify_all()
            for decoder in reading.decoders:
                decoder.stop()

    def _read_once(self, reading: Reading) -> None:
        # An earlier attempt's error would end a question whose windows are taken by now.
        ask, reading.waited_s, reading.error = reading.ask, 0.0, None
        # Of two videos in windows one would wait for memory that the other has, whose windows
        # nobody takes before.
        with ExitStack() as stack:
            if ask.request.video_tokens is not None:
                self._enter_windows(stack)
            began, fit = time.perf_counter(), self._fit(reading)
            opened = []
            lines = [one.subtitles or ask.request.subtitles_of(one.name) for one in ask.videos]
            for video, decoder, of in zip(ask.videos, reading.decoders, lines, strict=True):
                stack.callback(decoder.stop)
                one = decoder.open(
                    video.source,
                    video.sampling or ask.request.sampling,
                    subtitles=of,
                    shown_as=video.shown_as,
                    admit=partial(self._wait_for_memory, reading, decoder),
                    most_pixels=video.pixels and video.count and video.pixels // video.count,
                )
                opened.append(stack.enter_context(one))
            reading.plans = [one.plan for one in opened]
            for video, plan in zip(ask.videos, reading.plans, strict=True):
                # How many frames share the pixels that a video may have, only its plan tells.
                if video.pixels is not None and video.count is None:
                    name, most = video.shown_as or video.name, video.pixels // len(plan.times_s)
                    check_size(name, plan.info.width, plan.info.height, most)
            self._on_change(reading)
            windows = self._windows(reading)
            if windows is not None:
                if ask.request.video_tokens is None:
                    with self._changed:  # the memory that it has isn't what another one waits for
                        self._busy[reading] = {}
                    self._enter_windows(stack)
                reading.windows = windows
                self._on_change(reading)

            def on_frame(done: int, total: int) -> None:
                if windows is None or not windows.began:  # from then on encoding is shown
                    reading.send(Progress("video", done, total))

            def on_heard(done: int, total: int) -> None:
                reading.send(Progress("speech", done, total))

            known_s = [time.perf_counter()]  # until then the first frame waits
            if fit is not None:
                fit.add_done_callback(lambda _: known_s.append(time.perf_counter()))
            try:
                clips = tuple(
                    with_speech(one.read(on_frame, fit, windows), one, of, on_heard)
                    for one, of in zip(opened, lines, strict=True)
                )
            finally:
                if windows is not None:
                    windows.end()
            edits = zip(ask.videos, clips, strict=True)
            reading.clips = tuple(v.edit(clip) if v.edit else clip for v, clip in edits)
            reading.waited_s += known_s[-1] - known_s[0]
            reading.seconds = time.perf_counter() - began - reading.waited_s

    def _enter_windows(self, stack: ExitStack) -> None:
        stack.enter_context(self._in_windows)
        if self._closing:
            raise ClosingError

    def _wait_for_memory(self, reading: Reading, decoder: Decoder, needed: int) -> None:
        """Wait until a decoder may use this much memory, first come, first served.

        Without an order, a clip that needs a lot would wait until all small ones are done. One
        whose owner has memory already holds up nobody else.
        """
        since = time.perf_counter()
        with self._changed:
            self._busy[reading].pop(decoder, None)  # a second attempt has given its memory back
            self._waiting.append(reading)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._closing or reading.is_closing or self._may_take(reading, needed)
            )
            self._waiting.remove(reading)
            self._changed.notify_all()
            if self._closing or reading.is_closing:
                raise ClosingError
            self._busy[reading][decoder] = needed
        reading.waited_s += time.perf_counter() - since

    def _may_take(self, reading: Reading, needed: int) -> bool:
        owners = {one.owner for one, of in self._busy.items() if of}
        for one in self._waiting:
            if one is reading:
                break
            if one.owner == reading.owner or one.owner not in owners:
                return False
        others = sum(sum(of.values()) for one, of in self._busy.items() if one is not reading)
        if not others:  # alone, it may take any amount: else a clip above the budget never came
            return True
        needed += sum(self._busy[reading].values())
        # Asked each time, because the model's own use of memory changes.
        free = free_main_memory()
        return others + needed <= _SHARE_OF_FREE * (_UNKNOWN_FREE if free is None else free)


def usual_decoders() -> int:
    """Number of decoder processes for the usable CPUs and the free memory."""
    free = free_main_memory()
    memory = _MOST_DECODERS if free is None else free // _BYTES_PER_DECODER
    return max(1, min(_MOST_DECODERS, usable_cpus(), memory))
