"""Reads videos ahead, in processes, while the model works.

A video can bring down the process that decodes it, or hang it. That costs an attempt at this video
and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from dycoke_cli.errors import DycokeError
from dycoke_cli.models.explaining import explain
from dycoke_cli.resources import free_main_memory, usable_cpus
from dycoke_cli.runs.jobs import Job
from dycoke_cli.video import Clip, Sampling, read
from dycoke_cli.video.decoded_clip import CrashedError
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.limits import Limits

MAX_ATTEMPTS = 3
PATIENCE_S = 1.0
"""How long a question whose video is read waits for others of its shape where none comes."""
AHEAD_VIDEOS = 64
AHEAD_BYTES = 512 * 1024**2
_MOST_DECODERS = 8
# A decoder takes about 100 MB before it has opened a video, and one of 4K some hundreds more.
_BYTES_PER_DECODER = 512 * 1024**2
# Frames are being read in this share of the memory that is free: their way here takes as much
# again, and the model needs some for them.
_SHARE_OF_FREE = 0.25
_UNKNOWN_FREE = 8 * 1024**3


@dataclass(frozen=True)
class Read:
    """A video that was read, or couldn't be.

    Args:
        job: the video with its questions.
        clip: its frames, or why there are none; None where the job is blind.
        seconds: that it took.
    """

    job: Job
    clip: Clip | DycokeError | None
    seconds: float

    @property
    def nbytes(self) -> int:
        """Of the frames."""
        return self.clip.frames.nbytes if isinstance(self.clip, Clip) else 0


def read_here(job: Job, sampling: Sampling) -> Read:
    """Read a video in this process."""
    started = time.perf_counter()
    clip = None if job.blind else _clip(job, _with_rate(job.sampling or sampling, sampling))
    return Read(job, clip, time.perf_counter() - started)


class ReadAhead:
    """Videos as they are read, which isn't quite the order of the jobs.

    Used in a `with` statement; at its end the processes end.

    Args:
        jobs: drawn one by one, in threads, by one at a time.
        sampling: which frames, where a job says nothing else.
        limits: that each video is held to.
        decoders: processes; None for what suits the machine.
        idle: decoders that an earlier one has left; those of this one are left there, too, in
            place of being ended.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        sampling: Sampling,
        limits: Limits | None = None,
        decoders: int | None = None,
        *,
        idle: list[Decoder] | None = None,
    ) -> None:
        self._jobs = iter(jobs)
        self._sampling = sampling
        self._limits = limits or Limits()
        self._idle: list[Decoder] = [] if idle is None else idle
        self._leaves = idle is not None
        # Decoders with the memory that they were admitted to, and those that wait to be.
        self._busy: dict[Decoder, int] = {}
        self._waiting: deque[Decoder] = deque()
        self._read: deque[Read] = deque()
        self._held_bytes = 0
        self._drawn = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._drawing = threading.Lock()
        self._closing = False
        count = decoders or usual_decoders()
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
            self._changed.notify_all()
            for decoder in self._busy:
                decoder.stop()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return not self._working and not self._read and self._failure is None

    def take(self, timeout_s: float) -> Read | None:
        """The next video; None where none came in that time, or none will.

        Raises:
            Exception: what went wrong with the jobs themselves.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._read or not self._working, timeout_s)
            if self._read:
                taken = self._read.popleft()
                self._held_bytes -= taken.nbytes
                self._changed.notify_all()
                return taken
            if not self._working and self._failure is not None:
                raise self._failure
            return None

    def _work(self) -> None:
        """Read videos with one decoder, until there are no more."""
        decoder = None
        try:
            while (job := self._next()) is not None:
                if job.blind:
                    self._put(Read(job, None, 0.0))
                    continue
                decoder = decoder or self._decoder()
                self._put(self._read_one(decoder, job))
        except _ClosingError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            with self._changed:
                if decoder is not None:
                    del self._busy[decoder]
                    self._leave(decoder)
                self._working -= 1
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not self._full())
        with self._drawing:
            job = None if self._closing or self._drawn else next(self._jobs, None)
            self._drawn = job is None
        return job

    def _decoder(self) -> Decoder:
        with self._changed:
            decoder = self._idle.pop() if self._idle else Decoder(self._limits)
            self._busy[decoder] = 0
        return decoder

    def _leave(self, decoder: Decoder) -> None:
        if self._leaves:
            self._idle.append(decoder)
        else:
            decoder.stop()

    def _read_one(self, decoder: Decoder, job: Job) -> Read:
        started, waited = time.monotonic(), 0.0

        def admit(needed: int) -> None:
            nonlocal waited
            asked = time.monotonic()
            self._wait_for_memory(decoder, needed)
            waited += time.monotonic() - asked

        clip: Clip | DycokeError
        sampling = _with_rate(job.sampling or self._sampling, self._sampling)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                clip = decoder.read(job.video.path, sampling, subtitles=job.subtitles, admit=admit)
                break
            except CrashedError as crash:
                if self._closing:
                    raise _ClosingError from crash
                clip = CrashedError(crash.name, crash.gone, attempt)
            except (_ClosingError, KeyboardInterrupt):
                raise
            except Exception as error:
                clip = explain(error)
                break
        with self._changed:
            self._busy[decoder] = 0
        return Read(job, clip, time.monotonic() - started - waited)

    def _wait_for_memory(self, decoder: Decoder, needed: int) -> None:
        """Wait until so much memory may be taken, in the order of asking.

        Where no other decoder is at work, it may, so that a clip comes that needs more than its
        share.
        """
        with self._changed:
            self._busy[decoder] = 0
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
        return not taken or taken + needed <= _room_to_read()

    def _put(self, found: Read) -> None:
        with self._changed:
            self._read.append(found)
            self._held_bytes += found.nbytes
            self._changed.notify_all()

    def _full(self) -> bool:
        return len(self._read) >= AHEAD_VIDEOS or self._held_bytes >= AHEAD_BYTES


def _with_rate(sampling: Sampling, of_plan: Sampling) -> Sampling:
    """The frames of a job, with the audio that the plan's model takes."""
    return replace(sampling, audio_rate=of_plan.audio_rate)


class _ClosingError(Exception):
    """Nothing more is wanted."""


def usual_decoders() -> int:
    """Processes that read videos, by the CPUs that may be used and the memory that is free."""
    free = free_main_memory()
    memory = _MOST_DECODERS if free is None else free // _BYTES_PER_DECODER
    return max(1, min(_MOST_DECODERS, usable_cpus(), memory))


def _room_to_read() -> float:
    free = free_main_memory()
    return _SHARE_OF_FREE * (_UNKNOWN_FREE if free is None else free)


def _clip(job: Job, sampling: Sampling) -> Clip | DycokeError:
    try:
        return read(job.video.path, sampling, subtitles=job.subtitles)
    except Exception as error:
        return explain(error)
