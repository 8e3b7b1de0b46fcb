"""Decoding of untrusted videos in a separate, sandboxed process.

An untrusted video may crash, hang or compromise its decoder. So files are opened here and passed to
the process (`decoder_process`) as descriptors, which needs no access to files. It has limits of
time and memory, and everything that it sends is validated. Each video has a process of its own: one
that takes its decoder over sees no other video, and can't change what is read of it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from dycoke_cli.answer.json_schema import Count, MismatchError, from_dict
from dycoke_cli.errors import (
    DycokeError,
    OutOfMemoryError,
    UsageError,
    VideoError,
    check_kind,
    error_of,
)
from dycoke_cli.processes.isolated import MAX_MESSAGE_BYTES, Isolated, LateError, NonsenseError
from dycoke_cli.processes.sandbox import Mechanism
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.resources import usable_cpus
from dycoke_cli.unicode import display_name, shown
from dycoke_cli.video import limits
from dycoke_cli.video.clip import Clip, Fit, FramePlan, Frames, VideoInfo, WindowQueue
from dycoke_cli.video.files import STDIN, STDIN_NAME, open_file, spooled
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.pictures import PictureReader, Rendered, Source, pictures_of
from dycoke_cli.video.sampling import MAX_WANTED, Sampling
from dycoke_cli.video.subtitles import Subtitles, SubtitleSource, open_subtitles

if TYPE_CHECKING:
    import numpy as np

PROCESS = "dycoke_cli.video.decoder_process:serve"
PREPARE = "dycoke_cli.video.decoder_process:prepare"
_SAMPLING = Sampling()
# Factor over the estimated memory: allocators round up, and libraries have their own buffers.
_SLACK = 1.5
_MAX_NEEDED = 2**48
"""Most bytes that a video may claim: 256 TiB, which no machine has."""
_MAX_SENTENCE = 1000  # beside the name of the video
# Errors of a video, its sampling or its subtitles. Others, such as those of a model, end a run.
_CODES = (VideoError.code, UsageError.code, OutOfMemoryError.code)
_STARTING_S = 120.0
_OUT_OF_CPU = -24  # the exit code of SIGXCPU, on Linux, where CPU time is limited
_ROOM_BYTES = 256 * 1024**2  # for the stacks of threads


class CrashedError(VideoError):
    """The decoder process died on a video."""

    def __init__(self, name: str, gone: GoneError, attempts: int = 1) -> None:
        code = gone.exit_code
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        times = f", {attempts} times in a row" if attempts > 1 else ""
        super().__init__(
            f"{name} ends the process that decodes it ({how}){times}: convert it, or leave it out"
        )
        self.name, self.gone = name, gone


class OpenClip:
    """Video in the decoder process with planned frames. Made by `Decoder.open`.

    Attributes:
        left_s: remaining time in seconds.
        stop: ends the process; a thread that receives from it gets an error.
        notes: of its sound, once that is read; each follows the name of the video.
    """

    plan: FramePlan  # frames that will be read
    is_live = False  # whether the process reads a pipe, window by window
    _beside = ""  # subtitles that the process reads, too

    def __init__(
        self,
        process: Isolated,
        stop: Callable[[], None],
        name: str,
        limits: Limits,
        admit: Callable[[int], None],
        left_s: float | None = None,
    ) -> None:
        self._process, self.stop = process, stop
        self._name, self._limits, self._admit = name, limits, admit
        self.left_s = limits.time_limit if left_s is None else left_s
        self._needed = 0
        self._files: list[BinaryIO] = []
        self._is_paused = False  # whether the process waits for permission to continue
        self._is_done = False  # whether it has finished this video, and can take the next
        self._opening_s: float | None = None  # CPU seconds of this stage; None outside of it
        self.notes: tuple[str, ...] = ()

    def begin(
        self,
        files: list[BinaryIO],
        sampling: Sampling,
        subtitles: SubtitleSource | None,
        **more: Any,
    ) -> None:
        """Open the video in the process, and plan its frames. Raises what `Decoder.open` does.

        `more` is what else the process needs to know.
        """
        self._files, self._sampling = files, sampling
        self._hears = subtitles is not None and subtitles.speech is not None
        process, time_limit_s = self._process, self.left_s
        self.left_s = _STARTING_S
        with self._checked():  # its start doesn't count as time of the video
            process.await_ready()
        self.left_s = time_limit_s
        if subtitles is not None and subtitles.path is not None:
            self._beside = f" with the subtitles {display_name(subtitles.path)}"
        request = {
            "name": self._name,
            "sampling": asdict(sampling),
            "subtitles": None if subtitles is None else asdict(subtitles),
            "live": self.is_live,
            **more,
        }
        with self._checked():
            sealed = parsed(tuple[str, ...], process.ready.get("sealed", []))
            self._limits.check_sandbox(sealed)  # before it reads anything
            self._limit_opening()
            process.limit(memory_bytes=self._memory_limit(limits.OPENING_BYTES))
            process.send(request, files)
            needs = self._receive()
            self._needed = parsed(Count, needs.get("needs"))
            if self._needed > _MAX_NEEDED:
                raise MismatchError(f"more than {_MAX_NEEDED}")
            width, height = parsed(tuple[Count, Count], needs.get("size"))
            self._is_paused = True
        # The process has only read headers so far. It decodes nothing before its need for memory
        # is known, allowed by the limits, and free.
        self._limits.check_memory(self._name, (width, height), self._needed)
        self._admit(self._needed)
        with self._checked():
            process.limit(memory_bytes=self._memory_limit(int(self._needed * _SLACK) + _ROOM_BYTES))
            process.send({"go": True})
            self._is_paused = False
            self.plan = self._checked_plan(self._receive(limits.MAX_PLAN_BYTES))
            self._is_paused = True

    def _limit_opening(self, start_s: float = 0.0) -> None:
        """Limit the CPU time until the frame at this time comes."""
        nbytes = sum(os.fstat(file.fileno()).st_size for file in self._files)
        self._opening_s = self._limits.opening_cpu_s(nbytes, start_s)
        self._process.limit(cpu_s=self._opening_s)

    def read(
        self,
        on_progress: Callable[[int, int], None] | None = None,
        fit: Future[Fit] | None = None,
        windows: WindowQueue | None = None,
    ) -> Clip:
        """Read the frames, once.

        Args:
            on_progress: called after each frame with the number of frames read and of those
                planned (fewer may come).
            fit: resize of the model that the frames are for, as soon as that is known; None keeps
                them as decoded.
            windows: where frames are handed on, so that the clip has only their shape; or None.

        Raises:
            VideoError: no frame can be decoded, or not within the time limit; or the frames that
                are kept take too much memory.
            UsageError: the subtitle stream has no line.
            OutOfMemoryError: they take more memory than the limit.
        """
        frames = Frames(self.plan, self._sampling, fit, windows)
        frames.admit(self._limits, self._admit, self._needed)
        with self._checked():
            self._limit_opening(max(0.0, self.plan.times_s[0]))
            self._process.send({"go": True})
            self._is_paused = False
        message = None
        while message is None:
            with self._checked():
                message = self._frames(frames, on_progress)
            if message is None:  # outside the time limit: a window waits until it is taken
                frames.hand_on()
        with self._checked():
            lines = parsed(Subtitles | None, message.get("subtitles"))
            if lines is not None:
                parse_warnings(message["subtitles"]["warnings"])
            warnings = parse_warnings(message.get("warnings"))
            if not frames.times_s:
                raise MismatchError("no frame")
            self._is_done = not self._hears
            self._is_paused = self._hears
        return frames.clip(warnings, subtitles=lines)

    def sound(self, part_s: tuple[float, float]) -> Iterator[np.ndarray]:
        """Yield the sound of a part, once, behind `read`: float32 `[N]` of about a minute."""
        import numpy as np

        with self._checked():
            self._process.send({"go": True, "part_s": part_s})
            self._is_paused = False
        while not self._is_done:
            pieces, size = list[np.ndarray](), 0
            with self._checked():  # whoever hears them takes the time for that
                while size < limits.MINUTE and "samples" in (message := self._receive()):
                    samples = parsed(Count, message["samples"])
                    if samples > limits.MAX_SAMPLES:
                        raise MismatchError("more sound than is sent at once")
                    pieces.append(np.empty(samples, np.float32))
                    self._process.receive_into(pieces[-1].data.cast("B"))
                    size += samples
                if size < limits.MINUTE:
                    self.notes, self._is_done = parse_warnings(message.get("notes")), True
            if pieces:
                yield np.nan_to_num(np.concatenate(pieces)).clip(-1, 1)

    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal; while the process doesn't read, as behind `read`."""
        file: Any = self._files[0]  # whose type lacks a method
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()

    def _frames(
        self, frames: Frames, on_progress: Callable[[int, int], None] | None
    ) -> dict[str, Any] | None:
        """Receive frames; returns the message behind the last, or None where they wait."""
        while "time_s" in (message := self._receive(limits.MAX_SUBTITLE_BYTES)):
            self._frame(frames, message)
            if self._opening_s is not None:  # is over
                self._opening_s = None
                self._process.limit(cpu_s=self._limits.time_limit * usable_cpus())
            if on_progress is not None:
                on_progress(len(frames.times_s), frames.count)
            if frames.waits:
                return None
        return message

    def _frame(self, frames: Frames, message: dict[str, Any]) -> None:
        """Receive the frame that a message describes."""
        time_s, times = parsed(float, message["time_s"]), frames.times_s
        # The decoder isn't trusted: more frames would overflow the array.
        if len(times) == frames.count or (times and time_s <= times[-1]):
            raise MismatchError("more frames, or others")
        self._process.receive_into(frames.room().reshape(-1).data)
        frames.keep(time_s)

    def end(self) -> None:
        """Make the process drop the video; if it is in the middle of decoding, kill it."""
        # A paused process drops the video on request, and can take the next. One in the middle of
        # decoding doesn't read its pipe, so it is killed.
        if self._is_paused:
            with suppress(GoneError):
                self._process.send({"go": False})
        elif not self._is_done:
            self.stop()

    def _memory_limit(self, estimate: int) -> int:
        """Memory limit of the process: the estimate, or the user's limit."""
        user_limit = self._limits.memory_limit
        return estimate if user_limit is None else user_limit + _ROOM_BYTES

    def _receive(self, most_bytes: int = MAX_MESSAGE_BYTES) -> dict[str, Any]:
        message = self._process.receive(most_bytes)
        if "error" in message:
            error = message["error"]
            if not isinstance(error, dict) or error.get("code") not in _CODES:
                raise MismatchError("no error, or one that isn't the video's")
            sentence = parsed(str, error.get("message"))[: _MAX_SENTENCE + len(self._name)]
            if not sentence.strip():
                raise MismatchError("no sentence")
            self._is_done = True
            raise error_of(error["code"], sentence)
        if "out_of_memory" in message:
            raise OutOfMemoryError(
                f"{self._name} takes far more memory than its pictures account for: convert it, or "
                "set --memory-limit to what it may take"
            )
        return message

    def _checked_plan(self, message: dict[str, Any]) -> FramePlan:
        sampling = self._sampling
        max_frames = MAX_WANTED if sampling.fps is not None else sampling.frames
        plan: FramePlan = parsed(FramePlan, message.get("plan"))
        parse_warnings(message["plan"]["warnings"])
        pixels = plan.width * plan.height
        if (
            not 0 < len(plan.times_s) <= max_frames
            or not 0 < plan.width <= pixels <= limits.MAX_KEPT_PIXELS
        ):
            raise MismatchError("frames that weren't requested")
        # The name as this process knows it, not as the decoder sent it.
        return replace(plan, info=replace(plan.info, path=self._name))

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Count the block's time, and convert failures of the process to errors for the user."""
        started = time.monotonic()
        try:
            with self._process.within(self.left_s):
                yield
        except (GoneError, LateError) as error:
            doing, limit = "decoded", f"{self._limits.time_limit:g} s"
            if isinstance(error, GoneError):
                if error.exit_code != _OUT_OF_CPU:
                    raise CrashedError(self._name, error) from error
                if self._opening_s is not None:
                    doing, limit = "opened", f"{self._opening_s:.0f} s of processor time"
            raise VideoError(
                f"{self._name}{self._beside} isn't {doing} after {limit}: convert it, "
                "or raise --time-limit"
            ) from error
        except (NonsenseError, MismatchError, TypeError) as error:
            raise VideoError(
                f"{self._name} makes the process that decodes it send what no video has: leave it "
                "out"
            ) from error
        finally:
            self.left_s -= time.monotonic() - started


def parsed(kind: Any, value: Any) -> Any:
    """Validate a value from the process against a type; texts are escaped for a terminal."""
    return from_dict(kind, value, lambda text: shown(text).replace("\n", "\\n"))


def parse_warnings(value: Any) -> tuple[str, ...]:
    """Validate warnings from the process; texts are escaped for a terminal."""
    warnings: tuple[str, ...] = parsed(tuple[str, ...], value)
    if len(warnings) > limits.MAX_WARNINGS:
        raise MismatchError("more warnings than any video gives cause for")
    return warnings


def sandbox() -> tuple[Mechanism, ...]:
    """The mechanisms that isolate a decoder here; starts one."""
    process = Isolated(PROCESS, PREPARE)
    try:
        process.await_ready()
    except GoneError as error:
        raise VideoError("the process that reads videos can't be started here") from error
    finally:
        process.stop()
    means: tuple[Mechanism, ...] = from_dict(tuple[Mechanism, ...], process.ready["sealed"])
    return means


def info_of(
    video: Source | Rendered, sampling: Sampling, limits: Limits, shown_as: str | None = None
) -> VideoInfo | None:
    """What is known of a video without reading it; None where it can't be opened.

    Args:
        sampling: has its stream, and the rate of pictures.
    """
    one = Sampling(frames=1, stream=sampling.stream, picture_fps=sampling.picture_fps)
    try:
        with Decoder(limits) as decoder, decoder.open(video, one, shown_as=shown_as) as opened:
            return opened.plan.info
    except DycokeError:
        return None


class Decoder:
    """Decoder of one video at a time, each in a process of its own.

    A context manager, which stops the process at the end.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._process: Isolated | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Isolated:
        """Start the process ahead of the next video, so that its imports run in parallel."""
        if self._process is None:
            self._process = Isolated(PROCESS, PREPARE)
        return self._process

    def stop(self) -> None:
        """Kill the process; the next video has another one anyway."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    @contextmanager
    def open(
        self,
        video: Source | Rendered,
        sampling: Sampling,
        *,
        subtitles: SubtitleSource | None = None,
        shown_as: str | None = None,
        admit: Callable[[int], None] = lambda needed: None,
        most_pixels: int | None = None,
    ) -> Iterator[OpenClip | PictureReader]:
        """Open a video and plan its frames; the process ends with the block.

        Args:
            subtitles: to read with them, or None.
            shown_as: name for errors and warnings; None for the escaped path.
            admit: called with the bytes that the next stage needs, before they are allocated, and
                blocks until they are available. Once for decoding the first frame, then for all.
        """
        try:
            pictures = None if video == STDIN else pictures_of(video, shown_as)
            if pictures is not None:
                shown = {}
                if isinstance(video, tuple) and shown_as is not None:
                    shown = {one: f"{shown_as} (frame {n})" for n, one in enumerate(video, 1)}
                one = self._one_of_many(admit, shown, most_pixels)
                one = video.read_one if isinstance(video, Rendered) else one
                yield PictureReader(pictures, sampling, one, admit, subtitles)
                return
            assert isinstance(video, str), "several paths are pictures"
            name = shown_as or (STDIN_NAME if video == STDIN else display_name(video))
            with self._opened(
                video, name, admit, None, sampling, subtitles, most_pixels=most_pixels
            ) as opened:
                yield opened
        finally:
            self.stop()

    @contextmanager
    def _opened(
        self,
        video: str,
        name: str,
        admit: Callable[[int], None],
        left_s: float | None,
        sampling: Sampling,
        subtitles: SubtitleSource | None = None,
        **more: Any,
    ) -> Iterator[OpenClip]:
        """Open the files and plan; within the block, the frames can be read."""
        opened = OpenClip(self.start(), self.stop, name, self._limits, admit, left_s)
        with ExitStack() as stack:
            file = stack.enter_context(spooled() if video == STDIN else open_file(video, name))
            files = [file]
            if subtitles is not None and subtitles.path is not None:
                files.append(stack.enter_context(open_subtitles(subtitles.path)))
            stack.callback(opened.end)
            opened.begin(files, sampling, subtitles, **more)
            yield opened

    def _one_of_many(
        self, admit: Callable[[int], None], shown: Mapping[str, str], most_pixels: int | None
    ) -> Callable[[str, Sampling], Clip]:
        """Reader of single images, which share one time limit; `shown` names them in errors."""
        left_s = self._limits.time_limit

        def read(picture: str, sampling: Sampling) -> Clip:
            nonlocal left_s, admit
            name = shown.get(picture) or display_name(picture)
            one = self._opened(picture, name, admit, left_s, sampling, most_pixels=most_pixels)
            with one as opened:
                clip = opened.read()
            # Only the first image is admitted by itself; `PictureReader` admits the others at once.
            left_s, admit = opened.left_s, lambda needed: None
            return clip

        return read

    def read(
        self,
        video: Source | Rendered,
        sampling: Sampling,
        *,
        on_progress: Callable[[int, int], None] | None = None,
        fit: Future[Fit] | None = None,
        **more: Any,
    ) -> Clip:
        """Read the frames of a video; arguments are those of `open` and of `OpenClip.read`."""
        with self.open(video, sampling, **more) as opened:
            return opened.read(on_progress, fit)


def read(
    path: str | os.PathLike[str] | tuple[str, ...] | Rendered,
    sampling: Sampling = _SAMPLING,
    *,
    shown_as: str | None = None,
    subtitles: SubtitleSource | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Clip:
    """Read frames of a video, in a sandboxed process.

    Args:
        path: of a file, or of a folder of images; or paths of images, which are the frames; or a
            rendered video.
        sampling: frames to read.
        shown_as: name for errors and warnings; None for the escaped path.
        subtitles: to read with the frames, as found by `find_source`; None for none.
        on_progress: called after each frame with the number of frames read and planned (fewer may
            be read).

    Raises:
        VideoError: the file doesn't exist, isn't a video, or is too large.
        UsageError: the sampling doesn't fit the video (start beyond its end, no such stream), or
            the subtitles can't be read.
        OutOfMemoryError: there isn't enough memory for the frames.
    """
    check_kind(sampling, Sampling, "sampling is an object such as Sampling(frames=8)")
    wanted = "read takes the path of a video or of a folder of pictures, or a tuple of their paths"
    for one in path if isinstance(path, tuple) else (path,):
        check_kind(one, (str, os.PathLike, Rendered), wanted)
    video = path if isinstance(path, (tuple, Rendered)) else os.fspath(path)
    with Decoder() as decoder:
        return decoder.read(
            video, sampling, shown_as=shown_as, subtitles=subtitles, on_progress=on_progress
        )
