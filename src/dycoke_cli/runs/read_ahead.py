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
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import numpy as np

from dycoke_cli.errors import DycokeError, VideoError
from dycoke_cli.explaining import explain
from dycoke_cli.processes import GoneError, Worker, wait
from dycoke_cli.resources import free_main_memory, usable_cpus
from dycoke_cli.runs.jobs import Job
from dycoke_cli.unicode import display_name
from dycoke_cli.video import Clip, Sampling, open_clip, read
from dycoke_cli.video.subtitles import SubtitleSource

MAX_ATTEMPTS = 3
MAX_SECONDS = 600.0
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
_POLL_S = 0.2


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


@dataclass
class _Attempt:
    """A video in the hands of a decoder.

    Args:
        job: the video with its questions.
        number: of the attempt, from 1 on.
        started: when, on the monotonic clock; later by the time that it waited for memory.
        needs: bytes of memory that reading takes; None until the decoder has asked for them.
        asked: when it has, on the same clock.
        reads: whether it may.
    """

    job: Job
    number: int
    started: float
    needs: int | None = None
    asked: float = 0.0
    reads: bool = False


def read_here(job: Job, sampling: Sampling) -> Read:
    """Read a video in this process."""
    started = time.perf_counter()
    clip = None if job.blind else _clip(job, job.sampling or sampling)
    return Read(job, clip, time.perf_counter() - started)


class ReadAhead:
    """Videos as they are read, which isn't quite the order of the jobs.

    Used in a `with` statement; at its end the processes end.

    Args:
        jobs: drawn one by one, in a thread.
        sampling: which frames, where a job says nothing else.
        decoders: processes; None for what suits the machine.
        max_seconds: that a video may take.
        idle: decoders that an earlier one has left; those of this one are left there, too, in
            place of being ended.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        sampling: Sampling,
        decoders: int | None = None,
        max_seconds: float = MAX_SECONDS,
        *,
        idle: list[Worker] | None = None,
    ) -> None:
        self._jobs = iter(jobs)
        self._sampling = sampling
        self._decoders = decoders or usual_decoders()
        self._max_seconds = max_seconds
        self._again: deque[_Attempt] = deque()
        self._idle: list[Worker] = [] if idle is None else idle
        self._leaves = idle is not None
        self._busy: dict[Worker, _Attempt] = {}
        self._read: deque[Read] = deque()
        self._held_bytes = 0
        self._drawn = False
        self._finished = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
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

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._finished and not self._read and self._failure is None

    def take(self, timeout_s: float) -> Read | None:
        """The next video; None where none came in that time, or none will.

        Raises:
            Exception: what went wrong with the jobs themselves.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._read or self._finished, timeout_s)
            if self._read:
                taken = self._read.popleft()
                self._held_bytes -= taken.nbytes
                self._changed.notify_all()
                return taken
            if self._finished and self._failure is not None:
                raise self._failure
            return None

    def _work(self) -> None:
        try:
            while not self._closing:
                self._hand_out()
                self._let_read()
                if self._busy:
                    for worker in wait(list(self._busy), _POLL_S):
                        self._collect(worker)
                    self._end_what_hangs()
                elif self._drawn and not self._again:
                    return
                else:
                    self._wait_for_room()
        except BaseException as error:
            self._failure = error
        finally:
            for worker in (*(() if self._leaves else self._idle), *self._busy):
                worker.stop()
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _hand_out(self) -> None:
        while len(self._busy) < self._decoders and not self._full():
            attempt = self._next()
            if attempt is None:
                return
            attempt.started = time.monotonic()
            if attempt.job.blind:
                self._put(attempt, None)
                continue
            worker = self._idle.pop() if self._idle else Worker(_decode)
            self._busy[worker] = attempt
            try:
                job = attempt.job
                worker.send((job.video.path, job.sampling or self._sampling, job.subtitles))
            except GoneError as gone:
                self._lost(worker, gone)

    def _let_read(self) -> None:
        """Let decoders read the frames that there is memory for, in the order of their asking.

        Where none reads, one may, so that a clip comes that needs more than that share.
        """
        reading = sum(one.needs or 0 for one in self._busy.values() if one.reads)
        waiting = [
            (attempt.asked, attempt.needs, worker, attempt)
            for worker, attempt in self._busy.items()
            if attempt.needs is not None and not attempt.reads
        ]
        waiting.sort(key=lambda one: one[0])
        for asked, needs, worker, attempt in waiting:
            if self._full() or (reading and reading + needs > _room_to_read()):
                return
            reading += needs
            attempt.reads = True
            attempt.started += time.monotonic() - asked
            try:
                worker.send(None)
            except GoneError as gone:
                self._lost(worker, gone)

    def _next(self) -> _Attempt | None:
        if self._again:
            return self._again.popleft()
        job = None if self._drawn else next(self._jobs, None)
        self._drawn = job is None
        return None if job is None else _Attempt(job, 1, 0.0)

    def _collect(self, worker: Worker) -> None:
        try:
            message = worker.receive()
            if isinstance(message, int):
                self._busy[worker].needs = message
                self._busy[worker].asked = time.monotonic()
                return
            clip = message if isinstance(message, DycokeError) else _clip_from(worker, *message)
        except GoneError as gone:
            self._lost(worker, gone)
            return
        attempt = self._busy.pop(worker)
        self._idle.append(worker)
        self._put(attempt, clip)

    def _lost(self, worker: Worker, gone: GoneError) -> None:
        worker.stop()
        attempt = self._busy.pop(worker)
        if attempt.number < MAX_ATTEMPTS:
            self._again.append(_Attempt(attempt.job, attempt.number + 1, 0.0))
            return
        self._put(attempt, crashed(attempt.job, gone))

    def _end_what_hangs(self) -> None:
        now = time.monotonic()
        for worker, attempt in list(self._busy.items()):
            waits = attempt.needs is not None and not attempt.reads
            if not waits and now - attempt.started > self._max_seconds:
                worker.stop()
                del self._busy[worker]
                self._put(attempt, _hung(attempt.job, self._max_seconds))

    def _put(self, attempt: _Attempt, clip: Clip | DycokeError | None) -> None:
        found = Read(attempt.job, clip, time.monotonic() - attempt.started)
        with self._changed:
            self._read.append(found)
            self._held_bytes += found.nbytes
            self._changed.notify_all()

    def _full(self) -> bool:
        return len(self._read) >= AHEAD_VIDEOS or self._held_bytes >= AHEAD_BYTES

    def _wait_for_room(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not self._full())


def crashed(job: Job, gone: GoneError) -> VideoError:
    """The error of a video that brings down whoever decodes it."""
    how = f"signal {-gone.exit_code}" if gone.exit_code < 0 else f"exit code {gone.exit_code}"
    return VideoError(
        f"{display_name(job.video.path)} ends the process that decodes it ({how}), "
        f"{MAX_ATTEMPTS} times in a row: convert it, or leave it out"
    )


def _hung(job: Job, max_seconds: float) -> VideoError:
    return VideoError(
        f"{display_name(job.video.path)} isn't decoded after {max_seconds:g} s: convert it, or "
        "leave it out"
    )


def usual_decoders() -> int:
    """Processes that read videos, by the CPUs that may be used and the memory that is free."""
    free = free_main_memory()
    memory = _MOST_DECODERS if free is None else free // _BYTES_PER_DECODER
    return max(1, min(_MOST_DECODERS, usable_cpus(), memory))


def _room_to_read() -> float:
    free = free_main_memory()
    return _SHARE_OF_FREE * (_UNKNOWN_FREE if free is None else free)


def _decode(connection: Connection) -> None:
    while True:
        serve(connection, *connection.recv())


def serve(
    connection: Connection,
    path: str,
    sampling: Sampling,
    subtitles: SubtitleSource | None,
) -> None:
    """Read a video in a decoder: ask for memory, wait until it may be used, send the clip."""
    try:
        clip = _read_when_allowed(connection, path, sampling, subtitles)
    except Exception as error:
        connection.send(explain(error))
        return
    send(connection, clip)


def _read_when_allowed(
    connection: Connection, path: str, sampling: Sampling, subtitles: SubtitleSource | None
) -> Clip:
    with open_clip(path, sampling, subtitles=subtitles) as reader:
        connection.send(reader.plan.memory_bytes)
        connection.recv()
        return reader.read()


def send(connection: Connection, clip: Clip) -> None:
    """Send a clip from a decoder."""
    # One by one: a pickle of all of them would be another copy at each end.
    connection.send((len(clip.frames), replace(clip, frames=clip.frames[:0])))
    for frame in clip.frames:
        connection.send_bytes(frame.reshape(-1))


def _clip_from(worker: Worker, count: int, clip: Clip) -> Clip:
    frames = np.empty((count, *clip.frames.shape[1:]), np.uint8)
    for frame in frames:
        worker.receive_into(frame.reshape(-1).data)
    return replace(clip, frames=frames)


def _clip(job: Job, sampling: Sampling) -> Clip | DycokeError:
    try:
        return read(job.video.path, sampling, subtitles=job.subtitles)
    except Exception as error:
        return explain(error)
