"""A live source, from its name to the newest complete window, in the memory of three.

A thread receives frames from the decoder process. One window is being filled, one waits, one is
asked about. Of a pipe, a complete window replaces one that still waits, which is counted as
dropped. Of a file none is dropped: the decoder process waits.
"""

from __future__ import annotations

import math
import os
import re
import select
import stat
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Literal, Self

from dycoke_cli.answer.json_schema import MismatchError
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.processes.isolated import Isolated
from dycoke_cli.resources import usable_cpus
from dycoke_cli.unicode import display_name
from dycoke_cli.video.clip import (
    Clip,
    ClosedError,
    Fit,
    FramePlan,
    Frames,
    WindowQueue,
    shape_alone,
)
from dycoke_cli.video.decoder import PREPARE, PROCESS, OpenClip, parse_warnings, parsed
from dycoke_cli.video.files import STDIN, STDIN_NAME, open_file, standard_input
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling

Kind = Literal["stdin", "file", "folder"]
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # two letters: C:/ is a drive


@dataclass(frozen=True)
class LiveInput:
    """Stdin, a file or a folder."""

    given: str  # path, or `STDIN`
    kind: Kind  # "file" also where nothing is there
    name: str  # for the user, escaped for a terminal


def parse_input(given: str) -> LiveInput:
    """Tell what a source on a command line names."""
    if given == STDIN:
        return LiveInput(given, "stdin", STDIN_NAME)
    mode = 0
    with suppress(OSError, ValueError):  # what isn't there is reported when it is opened
        mode = os.stat(given).st_mode
    # OpenCV's number of a camera, and a device that isn't there.
    is_camera = not mode and (given.isdigit() or given.startswith("/dev/"))
    if _ADDRESS.match(given) or stat.S_ISCHR(mode) or is_camera:
        raise UsageError(
            "watch opens no address and no device, and reads a stream from a pipe: "
            '`ffmpeg -i rtsp://CAMERA -c copy -f mpegts - | dycoke watch - "QUESTION" --json`; a '
            "webcam is `-f v4l2 -i /dev/video0 -c:v libx264`"
        )
    return LiveInput(given, "folder" if stat.S_ISDIR(mode) else "file", display_name(given))


# Bytes of stdin or a growing file, copied into a pipe that the decoder process reads.
#
# So that process needs no file system, and can be sealed before it has read a byte.


_CHUNK_BYTES = 64 * 1024  # equivalent: pieces of any size
_LOOK_S = 0.1


class Feeder:
    """A pipe, and the thread that fills it.

    Args:
        timeout_s: after so many seconds without a byte, the pipe is closed.

    Attributes:
        reader: end of the pipe that is read; the caller closes it.
        failure: why the source can't be read, or None. Set before the pipe ends.
        note: sentence about a file that doesn't grow any more, or None; likewise.
    """

    def __init__(self, source: LiveInput, timeout_s: float) -> None:
        self._source, self._timeout_s = source, timeout_s
        is_stdin = source.kind == "stdin"
        self._chunks = self._sent(standard_input().fileno()) if is_stdin else self._growing()
        self.failure: VideoError | None = None
        self.note: str | None = None
        reader, self._writer = os.pipe()
        self.reader = open(reader, "rb", buffering=0)  # noqa: SIM115 (the caller closes it)
        Thread(target=self._feed, name="feeder", daemon=True).start()

    def _feed(self) -> None:
        with suppress(BrokenPipeError), open(self._writer, "wb", buffering=0) as pipe:
            try:
                for chunk in self._chunks:
                    left = memoryview(chunk)
                    while left:
                        left = left[pipe.write(left) :]
            except VideoError as error:
                self.failure = error

    def _sent(self, pipe: int) -> Iterator[bytes]:
        """Bytes of a pipe, until it ends."""
        while select.select([pipe], [], [], self._timeout_s)[0]:
            if not (chunk := os.read(pipe, _CHUNK_BYTES)):
                return
            yield chunk
        name, timeout_s = self._source.name, self._timeout_s
        raise VideoError(f"{name} has sent nothing for {timeout_s:g} s (--timeout)")

    def _growing(self) -> Iterator[bytes]:
        """Bytes of a file, until it hasn't grown for some time."""
        path, name = self._source.given, self._source.name
        deadline = time.monotonic() + self._timeout_s
        # A recorder may have created it a moment ago.
        with suppress(OSError, ValueError):
            while os.path.getsize(path) == 0 and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
        with open_file(path, name) as file:
            while (chunk := file.read(_CHUNK_BYTES)) or time.monotonic() < deadline:
                if chunk:
                    yield chunk
                    deadline = time.monotonic() + self._timeout_s
                else:
                    time.sleep(_LOOK_S)
        self.note = f"{name} hasn't grown for {self._timeout_s:g} s (--timeout)"


_UNLIMITED_S = 1e9  # the feeder reports a stall
_WINDOW_LOOK_S = 0.2


class EndedError(Exception):
    """The source has ended, and all of its windows were read. The message may be empty."""


@dataclass(frozen=True)
class _LiveWindow:
    """Frames of a window."""

    frames: Frames  # as they came, resized where the size was known
    part_s: tuple[float, float]  # start and end of the window
    # about its frames, and about what couldn't be decoded since the window before
    warnings: tuple[str, ...]


class LiveStream:
    """Live source, in place of a `Decoder` of its next window.

    A context manager, which ends its process.

    Args:
        sampling: frames of a window, which is from `start_s` 0 to `end_s`.
        timeout_s: seconds without data after which the source counts as ended.

    Attributes:
        dropped: number of windows that were dropped so far.
        plan: frames of a whole window.
    """

    plan: FramePlan

    def __init__(
        self, source: LiveInput, sampling: Sampling, limits: Limits, timeout_s: float
    ) -> None:
        self.dropped = 0
        self._source, self._sampling, self._limits = source, sampling, limits
        self._timeout_s = timeout_s
        self._clip: _LiveClip | None = None
        self._feeder: Feeder | None = None
        self._waiting: _LiveWindow | None = None
        self._dropped_before = 0
        self._failure: BaseException | None = None
        self._is_stopped = False
        self._changed = Condition()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._failure = self._failure or ClosedError()
            self._changed.notify_all()
        if self._clip is not None:
            self._clip.stop()
        if self._thread is not None:
            self._thread.join()

    def next_window(self) -> Self:
        """Itself, for the next window."""
        self._is_stopped = False
        return self

    def stop(self) -> None:
        """End a `read` that waits."""
        self._is_stopped = True

    @contextmanager
    def open(self, *_: object, **__: object) -> Iterator[Self]:
        """Open the source, once, with its own sampling."""
        if self._clip is None:
            self._clip = clip = _LiveClip(self._source, self._limits)
            self._feeder = feeder = Feeder(self._source, self._timeout_s)
            with feeder.reader:  # the process has its own
                try:
                    clip.begin([feeder.reader], self._sampling, None)
                except VideoError as error:
                    raise self._cause(error) from error
            self.plan = clip.plan
        yield self

    def read(
        self,
        on_progress: Callable[[int, int], None],
        fit: Future[Fit],
        windows: WindowQueue | None = None,
    ) -> Clip:
        """Wait for the newest window that is complete, and read its frames; see `OpenClip.read`."""
        if self._thread is None:
            self._thread = Thread(target=self._receive, args=(fit,), name="live", daemon=True)
            self._thread.start()
        window, dropped = self._take(on_progress)
        clip = window.frames.clip((*self.plan.warnings, *window.warnings))
        frames = clip.frames
        if windows is not None:
            for first in range(0, len(frames), windows.size):
                windows.put(frames[first : first + windows.size], clip.resize)
            frames = shape_alone(len(frames), frames.shape[1:3])
        return replace(
            clip,
            frames=frames,
            # As long as what has come so far.
            info=replace(self.plan.info, duration_s=window.part_s[1]),
            part_s=window.part_s,
            window=None if windows is None else windows.size,
            dropped=dropped,
        )

    def _take(self, on_progress: Callable[[int, int], None]) -> tuple[_LiveWindow, int]:
        """The newest window, once it is complete, and the number of those dropped before it."""
        assert self._clip is not None, "opened first"
        with self._changed:
            while self._waiting is None and self._failure is None:
                if self._is_stopped:
                    raise ClosedError
                on_progress(self._clip.frames_so_far, len(self.plan.times_s))
                self._changed.wait(_WINDOW_LOOK_S)
            if self._waiting is None:
                assert self._failure is not None
                raise self._failure
            taken, self._waiting = self._waiting, None
            dropped, self._dropped_before = self._dropped_before, 0
            self._changed.notify_all()
            return taken, dropped

    def _receive(self, fit: Future[Fit]) -> None:
        """Receive windows until the source ends; runs in the thread."""
        assert self._clip is not None
        failure: BaseException
        try:
            # A file waits until the model is loaded; a stream would break off meanwhile.
            while self._source.kind == "file" and not fit.done() and self._failure is None:
                futures.wait([fit], _WINDOW_LOOK_S)
            while (window := self._clip.next_window(fit)) is not None:
                with self._changed:
                    while self._waiting is not None and self._source.kind == "file":
                        if self._failure is not None:
                            return
                        self._changed.wait()
                    if self._waiting is not None:
                        self.dropped += 1
                        self._dropped_before += 1
                    self._waiting = window
                    self._changed.notify_all()
            failure = self._cause(EndedError())
        except VideoError as error:
            failure = self._cause(error)
        except BaseException as error:
            failure = error
        with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()

    def _cause(self, error: Exception) -> Exception:
        """What the feeder noticed comes first: the process sees the end of a pipe."""
        assert self._feeder is not None
        if isinstance(error, EndedError) and self._feeder.note is not None:
            return EndedError(self._feeder.note)
        return self._feeder.failure or error


class _LiveClip(OpenClip):
    """Client of the process that decodes a live source; receives windows without end."""

    is_live = True

    def __init__(self, source: LiveInput, limits: Limits) -> None:
        process, no_admission = Isolated(PROCESS, PREPARE), lambda needed: None
        super().__init__(process, process.stop, source.name, limits, no_admission, _UNLIMITED_S)
        self.frames_so_far = 0

    def next_window(self, fit: Future[Fit]) -> _LiveWindow | None:
        """Receive a window; None at the end of the source."""
        if self._is_paused:
            with self._checked():
                self._process.send({"go": True})
            self._is_paused = False
        frames = Frames(self.plan, self._sampling, fit if fit.done() else None)
        with self._checked():
            self._process.limit(cpu_s=self._limits.time_limit * usable_cpus())
            while "time_s" in (message := self._receive()):
                self._frame(frames, message)
                self.frames_so_far = len(frames.times_s)
            if "ended" in message:
                if (reason := parsed(str | None, message["ended"])) is not None:
                    raise VideoError(f"{self._name} broke off ({reason}): its answers end here")
                return None
            start_s, end_s = parsed(tuple[float, float], message.get("window"))
            warnings = parse_warnings(message.get("warnings"))
            if not frames.times_s or not 0 <= start_s < end_s < math.inf:
                raise MismatchError("no window")
        return _LiveWindow(frames, (start_s, end_s), warnings)
