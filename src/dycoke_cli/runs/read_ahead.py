"""Decodes videos ahead, in processes, while the model works.

A video can crash or hang the process that decodes it. That costs an attempt at this video and
nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self

from dycoke_cli.errors import DycokeError
from dycoke_cli.models.explaining import explain
from dycoke_cli.resources import free_main_memory, usable_cpus
from dycoke_cli.runs.jobs import Job
from dycoke_cli.video import Clip, Plan, Sampling, read
from dycoke_cli.video.decoded_clip import CrashedError
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.frame_windows import WINDOW, WindowQueue
from dycoke_cli.video.kept_frames import Fit
from dycoke_cli.video.limits import Limits

MAX_ATTEMPTS = 3
BATCH_WAIT_S = 1.0
"""How long a question waits for others to be answered with, while no video arrives."""
AHEAD_VIDEOS = 64
AHEAD_BYTES = 512 * 1024**2
_MOST_DECODERS = 8
# A decoder takes about 100 MB before it has opened a video, and one of 4K some hundreds more.
_BYTES_PER_DECODER = 512 * 1024**2
# Fraction of the free memory for frames that are being decoded: the transfer to this process takes
# as much again, and the model needs memory for them.
_SHARE_OF_FREE = 0.25
_UNKNOWN_FREE = 8 * 1024**3


@dataclass(frozen=True)
class InWindows:
    """A video that is handed on in windows, while it is decoded.

    Args:
        plan: its frames.
        windows: of frames.
        clip: without frames, once the last window is taken; or why there is none.
    """

    plan: Plan
    windows: WindowQueue
    clip: Future[Clip] = field(default_factory=Future)


@dataclass(frozen=True)
class DecodedJob:
    """A job whose video was decoded, or couldn't be.

    Args:
        job: the video with its questions.
        clip: its frames, or the error; None if the job is blind.
        seconds: decoding time.
    """

    job: Job
    clip: Clip | InWindows | DycokeError | None
    seconds: float

    @property
    def nbytes(self) -> int:
        """Size of the frames."""
        return self.clip.frames.nbytes if isinstance(self.clip, Clip) else 0


def read_here(job: Job, sampling: Sampling) -> DecodedJob:
    """Decode a video in this process."""
    started = time.perf_counter()
    clip = None if job.blind else _clip(job, _with_rate(job.sampling or sampling, sampling))
    return DecodedJob(job, clip, time.perf_counter() - started)


class ReadAhead:
    """Decoded videos, in the order in which they are finished.

    A context manager; the processes end with its block.

    Args:
        jobs: drawn one by one, by one thread at a time.
        sampling: of frames, for jobs without their own.
        limits: for each video.
        decoders: number of videos decoded at once; None chooses it by CPUs and memory.
        fit: see `OpenClip.read`.
        in_windows: whether videos are handed on in windows: one at a time, for each method anew.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        sampling: Sampling,
        limits: Limits | None = None,
        decoders: int | None = None,
        fit: Future[Fit] | None = None,
        *,
        in_windows: bool = False,
    ) -> None:
        self._jobs = iter(jobs)
        self._sampling = sampling
        self._limits, self._fit = limits or Limits(), fit
        # Memory that each working decoder was admitted with, and the decoders that wait for some.
        self._busy: dict[Decoder, int] = {}
        self._waiting: deque[Decoder] = deque()
        self._read: deque[DecodedJob] = deque()
        self._buffered_bytes = 0
        self._drawn = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._drawing = threading.Lock()
        self._closing = False
        self._in_windows = in_windows
        self._windows: WindowQueue | None = None  # of the video that is handed on
        # Of two videos in windows one would wait for memory that the other has, whose windows
        # nobody takes before.
        count = 1 if in_windows else decoders or usual_decoders()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        self._working = count

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closing = True
            if self._windows is not None:
                self._windows.close()
            self._changed.notify_all()
            # The threads aren't joined: one may be blocked in `next(jobs)`. Without its decoder a
            # thread that decodes ends soon.
            for decoder in self._busy:
                decoder.stop()
            if self._fit is not None:  # ends those that wait for a model that failed to load
                self._fit.cancel()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return not self._working and not self._read and self._failure is None

    def take(self, timeout_s: float) -> DecodedJob | None:
        """The next video; None if none arrived in that time, or none will.

        Raises:
            Exception: drawing the jobs failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._read or not self._working, timeout_s)
            if self._read:
                taken = self._read.popleft()
                self._buffered_bytes -= taken.nbytes
                self._changed.notify_all()
                return taken
            # Only after all decoded videos were taken: their answers aren't lost.
            if not self._working and self._failure is not None:
                raise self._failure
            return None

    def _work(self) -> None:
        """Decode videos, one after the other, until there are no more; the body of each thread."""
        decoder = None
        try:
            while (job := self._next()) is not None:
                if job.blind:
                    self._put(DecodedJob(job, None, 0.0))
                    continue
                decoder = decoder or self._decoder()  # blind jobs alone start no process
                if self._in_windows:
                    for one in _by_method(job):
                        self._hand_on(decoder, one)
                else:
                    self._put(self._read_one(decoder, job))
        except _ClosingError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            with self._changed:
                if decoder is not None:
                    del self._busy[decoder]
                    decoder.stop()
                self._working -= 1
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not self._full())
        # A lock of its own: drawing a job hashes its file, and `take` mustn't wait for that.
        with self._drawing:
            job = None if self._closing or self._drawn else next(self._jobs, None)
            self._drawn = job is None
        return job

    def _decoder(self) -> Decoder:
        with self._changed:
            decoder = Decoder(self._limits)
            self._busy[decoder] = 0
        return decoder

    def _read_one(self, decoder: Decoder, job: Job) -> DecodedJob:
        started, waited = time.monotonic(), 0.0

        def admit(needed: int) -> None:
            nonlocal waited
            since = time.monotonic()
            self._wait_for_memory(decoder, needed)
            waited += time.monotonic() - since  # waiting isn't part of a video's decoding time

        clip: Clip | DycokeError
        sampling = _with_rate(job.sampling or self._sampling, self._sampling)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                clip = decoder.read(
                    job.video.source,
                    sampling,
                    subtitles=job.subtitles,
                    admit=admit,
                    fit=self._fit,
                )
                break
            except CrashedError as crash:
                if self._closing:  # it didn't crash: `__exit__` stopped it
                    raise _ClosingError from crash
                clip = CrashedError(crash.name, crash.gone, attempt)
            except (_ClosingError, KeyboardInterrupt):
                raise
            except Exception as error:
                clip = explain(error)
                break
        with self._changed:
            self._busy[decoder] = 0
        return DecodedJob(job, clip, time.monotonic() - started - waited)

    def _hand_on(self, decoder: Decoder, job: Job) -> None:
        """Open a video, and hand its frames on as they are decoded."""
        sampling = _with_rate(job.sampling or self._sampling, self._sampling)
        began = time.monotonic()
        try:
            with decoder.open(
                job.video.source,
                sampling,
                subtitles=job.subtitles,
                admit=partial(self._wait_for_memory, decoder),
                fitted=self._fit is not None,
            ) as opened:
                windows = WindowQueue(WINDOW)
                with self._changed:
                    if self._closing:
                        raise _ClosingError
                    self._windows = windows
                video = InWindows(opened.plan, windows)
                self._put(DecodedJob(job, video, 0.0))
                try:
                    video.clip.set_result(opened.read(fit=self._fit, windows=windows))
                except Exception as error:
                    video.clip.set_exception(error)
                finally:
                    windows.end()
        except (_ClosingError, KeyboardInterrupt):
            raise
        except Exception as error:
            self._put(DecodedJob(job, explain(error), time.monotonic() - began))
        finally:
            with self._changed:
                self._busy[decoder] = 0

    def _wait_for_memory(self, decoder: Decoder, needed: int) -> None:
        """Wait until a decoder may use this much memory, first come, first served.

        Without an order, a clip that needs a lot would wait until all small ones are done.
        """
        with self._changed:
            self._busy[decoder] = 0  # a second attempt has given its memory back
            self._waiting.append(decoder)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing or self._may_take(decoder, needed))
            self._waiting.remove(decoder)
            if self._closing:
                raise _ClosingError
            self._busy[decoder] = needed
            self._changed.notify_all()

    def _may_take(self, decoder: Decoder, needed: int) -> bool:
        if self._waiting[0] is not decoder or self._full():
            return False
        taken = sum(self._busy.values())
        # Alone, a decoder may take any amount: else a clip larger than the budget never came.
        return not taken or taken + needed <= _decoding_budget()

    def _put(self, decoded: DecodedJob) -> None:
        with self._changed:
            self._read.append(decoded)
            self._buffered_bytes += decoded.nbytes
            self._changed.notify_all()

    def _full(self) -> bool:
        return len(self._read) >= AHEAD_VIDEOS or self._buffered_bytes >= AHEAD_BYTES


def _by_method(job: Job) -> Iterator[Job]:
    """The job in parts, the questions of each by one method, whose windows they share."""
    for method in dict.fromkeys(question.method for question in job.questions):
        asked = tuple(question for question in job.questions if question.method == method)
        yield replace(job, questions=asked)


def _with_rate(sampling: Sampling, of_plan: Sampling) -> Sampling:
    """A job's own sampling, with the audio rate of the plan's model."""
    return replace(sampling, audio_rate=of_plan.audio_rate)


class _ClosingError(Exception):
    """The context manager was left; ends a thread."""


def usual_decoders() -> int:
    """Number of decoder processes for the usable CPUs and the free memory."""
    free = free_main_memory()
    memory = _MOST_DECODERS if free is None else free // _BYTES_PER_DECODER
    return max(1, min(_MOST_DECODERS, usable_cpus(), memory))


def _decoding_budget() -> float:
    # Asked each time, because the model's own use of memory changes.
    free = free_main_memory()
    return _SHARE_OF_FREE * (_UNKNOWN_FREE if free is None else free)


def _clip(job: Job, sampling: Sampling) -> Clip | DycokeError:
    try:
        return read(job.video.source, sampling, subtitles=job.subtitles)
    except Exception as error:
        return explain(error)
