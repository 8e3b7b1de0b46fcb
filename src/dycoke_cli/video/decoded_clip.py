"""Client of the decoder process for one video: plans, admits, receives and validates its frames."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any, BinaryIO

from dycoke_cli.answer.json_schema import Count, MismatchError, from_dict
from dycoke_cli.errors import OutOfMemoryError, UsageError, VideoError, error_of
from dycoke_cli.processes.isolated import Isolated, LateError, NonsenseError
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.resources import usable_cpus
from dycoke_cli.unicode import display_name, shown
from dycoke_cli.video import limits
from dycoke_cli.video.clip import Audio, Clip, FramePlan
from dycoke_cli.video.kept_frames import Fit, KeptFrames, Windows
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import MAX_WANTED, Sampling
from dycoke_cli.video.subtitles import Line, Subtitles, SubtitleSource

# Factor over the estimated memory: allocators round up, and libraries have their own buffers.
_SLACK = 1.5
_MAX_NEEDED = 2**48
"""Most bytes that a video may claim: 256 TiB, which no machine has."""
_MAX_TIME_S = 2.0**63  # false of NaN, too
_MAX_SENTENCE = 1000  # beside the name of the video
# Errors of a video, its sampling or its subtitles. Others, such as those of a model, end a run.
_CODES = (VideoError.code, UsageError.code, OutOfMemoryError.code)
_STARTING_S = 120.0
_OUT_OF_CPU = -24  # the exit code of SIGXCPU, on Linux, where CPU time is limited
_DIGEST = re.compile("[0-9a-f]{64}")
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


class LateVideoError(VideoError):
    """A video wasn't read within the time limit."""


class OpenClip:
    """Video in the decoder process with planned frames. Made by `Decoder.open`.

    Attributes:
        left_s: remaining time in seconds.
    """

    plan: FramePlan  # frames that will be read

    def __init__(
        self,
        process: Isolated,
        stop: Callable[[], None],
        name: str,
        limits: Limits,
        admit: Callable[[int], None],
        left_s: float | None = None,
    ) -> None:
        self._process, self._stop = process, stop
        self._name, self._limits, self._admit = name, limits, admit
        self._time_limit_s = limits.time_limit if left_s is None else left_s
        self.left_s = _STARTING_S
        self._needed = 0
        self._sampling, self._fitted = Sampling(), False
        self._files: list[BinaryIO] = []
        self._more: dict[str, Any] = {}
        self._subtitle_source: SubtitleSource | None = None
        self._is_paused = False  # whether the process waits for permission to continue
        self._is_done = False  # whether it has finished this video, and can take the next
        self._came = 0  # number of frames
        self._opening_s: float | None = None  # CPU seconds of this stage; None outside of it

    def digest(self, file: BinaryIO) -> str:
        """SHA-256 of an open file in hexadecimal, which the process reads without decoding it."""
        with self._checked("read"):
            self._process.await_ready()
        self.left_s = self._time_limit_s
        with self._checked("read"):
            cpu_s = self._limits.time_limit * usable_cpus()
            self._process.limit(memory_bytes=self._memory_limit(limits.OPENING_BYTES), cpu_s=cpu_s)
            self._process.send({"name": self._name, "paths": [str(file.name)]}, [file])
            digest: str = parsed(str, self._receive().get("digest"))
            if not _DIGEST.fullmatch(digest):
                raise MismatchError("no digest")
            self._is_done = True
        return digest

    def begin(
        self,
        files: list[BinaryIO],
        sampling: Sampling,
        subtitles: SubtitleSource | None,
        *,
        fitted: bool = False,
        **more: Any,
    ) -> None:
        """Open the video in the process, and plan its frames. Raises what `Decoder.open` does.

        `more` is what else the process needs to know.
        """
        process = self._process
        self._sampling, self._fitted, self._more = sampling, fitted, more
        self._files, self._subtitle_source = files, subtitles
        with self._checked():
            process.await_ready()
            if "sealed" in process.ready:  # before it reads anything
                self._check_sandbox(process.ready)
        self.left_s = self._time_limit_s  # the start of the process doesn't count
        with self._checked():
            self._limit_opening()
            process.limit(memory_bytes=self._memory_limit(limits.OPENING_BYTES))
            paths = [str(file.name) for file in files]
            subtitle_source = None if subtitles is None else asdict(subtitles)
            request = {
                "name": self._name,
                "sampling": asdict(sampling),
                "subtitles": subtitle_source,
                "fitted": fitted,
                **more,
            }
            process.send({**request, "paths": paths}, files)
            needs = self._receive()
            self._check_sandbox({**process.ready, **needs})
            self._needed = _parse_count(needs.get("needs"), _MAX_NEEDED)
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
            self.plan = self._checked_plan(self._receive(), sampling)
            self._is_paused = True

    def _limit_opening(self, start_s: float = 0.0) -> None:
        """Limit the CPU time until the frame at this time comes."""
        nbytes = sum(os.fstat(file.fileno()).st_size for file in self._files)
        self._opening_s = self._limits.opening_cpu_s(nbytes, start_s)
        self._process.limit(cpu_s=self._opening_s)

    def _check_sandbox(self, message: dict[str, Any]) -> None:
        """Check what a message says of the process's sandbox."""
        self._limits.check_sandbox(parsed(tuple[str, ...], message.get("sealed", [])))

    def read(
        self,
        on_progress: Callable[[int, int], None] | None = None,
        fit: Future[Fit] | None = None,
        windows: Windows | None = None,
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
        count = len(self.plan.times_s)
        clip = self._read(count, on_progress, fit, windows)
        while clip is None:
            # Fewer frames came than planned, and this model reads so few at another size.
            count = self._came
            for file in self._files:
                file.seek(0)
            self._time_limit_s = self.left_s
            again = (self._files, self._sampling, self._subtitle_source)
            self.begin(*again, fitted=self._fitted, **self._more)
            clip = self._read(count, on_progress, fit)
        return clip

    def _read(
        self,
        count: int,
        on_progress: Callable[[int, int], None] | None,
        fit: Future[Fit] | None,
        windows: Windows | None = None,
    ) -> Clip | None:
        """Read `count` frames; None if so many don't come, and fewer have another size."""
        plan, size = self.plan, (self.plan.height, self.plan.width)
        by_rate = self._sampling.fps is not None
        kept = KeptFrames(self._name, count, size, fit, by_rate=by_rate, windows=windows)
        times: list[float] = []
        self._settle(kept, count)
        with self._checked():
            self._limit_opening(max(0.0, plan.times_s[0]))
            self._process.send({"go": True})
            self._is_paused = False
        message = None
        while message is None:
            with self._checked():
                message = self._frames(kept, count, times, on_progress)
            if message is None:  # outside the time limit: the processor may still be loading
                self._settle(kept, count)
        with self._checked():
            lines = self._subtitles(message.get("subtitles"))
            message = self._receive()
            warnings = parse_warnings(message.get("warnings"))
            if not times:
                raise MismatchError("no frame")
            audio = self._audio(parsed(int | None, message.get("samples")))
            self._is_done = True
        self._came = len(times)
        finished = kept.finish()
        if finished is None:
            return None
        frames, resize = finished
        part = self._sampling.part_s(plan.info.duration_s)
        window = None if windows is None else windows.size
        return Clip(frames, tuple(times), plan.info, warnings, lines, audio, part, resize, window)

    def _settle(self, kept: KeptFrames, count: int) -> None:
        """Let the size of the frames be known, and check their memory."""
        if kept.waits:
            kept.catch_up()
        needed = kept.nbytes + self._needed
        size = self.plan.info.width, self.plan.info.height
        self._limits.check_memory(self._name, size, needed, count)
        self._admit(needed)

    def _frames(
        self,
        kept: KeptFrames,
        count: int,
        times: list[float],
        on_progress: Callable[[int, int], None] | None,
    ) -> dict[str, Any] | None:
        """Receive frames; returns the message behind the last, or None where `kept` waits."""
        while "time_s" in (message := self._receive()):
            time_s = parsed(float, message["time_s"])
            # The decoder isn't trusted: more frames would overflow the array.
            if len(times) == count or (times and time_s <= times[-1]):
                raise MismatchError("more frames, or others")
            self._process.receive_into(kept.room().reshape(-1).data)
            kept.keep()
            times.append(time_s)
            if self._opening_s is not None:  # is over
                self._opening_s = None
                self._process.limit(cpu_s=self._limits.time_limit * usable_cpus())
            if on_progress is not None:
                on_progress(len(times), count)
            if kept.waits:
                return None
        return message

    def _subtitles(self, head: Any) -> Subtitles | None:
        """Receive the lines of the subtitles that a message describes."""
        import numpy as np

        if head is None:
            return None
        if not isinstance(head, dict):
            raise MismatchError("no subtitles")
        count = _parse_count(head.get("lines"), limits.MAX_SUBTITLE_LINES)
        text = bytearray(_parse_count(head.get("text_bytes"), limits.MAX_SUBTITLE_BYTES))
        times, lengths = np.empty((count, 2), np.float64), np.empty(count, np.uint32)
        for buffer in (times, lengths):
            self._process.receive_into(buffer.reshape(-1).view(np.uint8).data)
        self._process.receive_into(memoryview(text))
        ends = lengths.cumsum(dtype=np.int64).tolist()
        if not (abs(times) < _MAX_TIME_S).all() or (ends[-1] if ends else 0) != len(text):
            raise MismatchError("subtitles without times, or of other lengths")
        try:
            texts = [
                _escaped(text[start:end].decode("utf-8", "surrogatepass"))
                for start, end in zip([0, *ends], ends, strict=False)
            ]
        except UnicodeDecodeError as error:
            raise MismatchError("no text") from error
        lines = tuple(
            Line(start, end, one) for (start, end), one in zip(times.tolist(), texts, strict=True)
        )
        return Subtitles(
            parsed(str, head.get("source")), lines, parse_warnings(head.get("warnings"))
        )

    def _audio(self, count: int | None) -> Audio | None:
        import numpy as np

        if count is None:
            return None
        rate = self._sampling.audio_rate
        if rate is None or not 0 < 4 * count <= limits.MAX_AUDIO_BYTES:
            raise MismatchError("unrequested or too much audio")
        samples = np.empty(count, np.float32)
        self._process.receive_into(samples.view(np.uint8).data)
        # A compromised decoder may send NaN or huge numbers.
        return Audio(np.nan_to_num(samples.clip(-1, 1)), rate)

    def end(self) -> None:
        """Make the process drop the video; if it is in the middle of decoding, kill it."""
        # A paused process drops the video on request, and can take the next. One in the middle of
        # decoding doesn't read its pipe, so it is killed.
        if self._is_paused:
            with suppress(GoneError):
                self._process.send({"go": False})
        elif not self._is_done:
            self._stop()

    def _memory_limit(self, estimate: int) -> int:
        """Memory limit of the process: the estimate, or the user's limit."""
        user_limit = self._limits.memory_limit
        return estimate if user_limit is None else user_limit + _ROOM_BYTES

    def _receive(self) -> dict[str, Any]:
        message = self._process.receive()
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

    def _checked_plan(self, message: dict[str, Any], sampling: Sampling) -> FramePlan:
        import numpy as np

        max_frames = MAX_WANTED if sampling.fps is not None else sampling.frames
        times = np.empty(_parse_count(message.get("times"), max_frames), np.float64)
        self._process.receive_into(times.view(np.uint8).data)
        without_times = message.get("plan")
        if not isinstance(without_times, dict) or not (abs(times) < _MAX_TIME_S).all():
            raise MismatchError("no plan, or no times")
        plan: FramePlan = parsed(FramePlan, {**without_times, "times_s": []})
        parse_warnings(without_times.get("warnings"))
        plan = replace(plan, times_s=tuple(times.tolist()))
        pixels = plan.width * plan.height
        clip_bytes = len(plan.times_s) * pixels * 3
        if (
            not 0 < len(plan.times_s) <= max_frames
            or not 0 < plan.width <= pixels <= limits.MAX_KEPT_PIXELS
            or (clip_bytes > limits.MAX_CLIP_BYTES and not self._fitted)
        ):
            raise MismatchError("frames that weren't requested")
        # The name as this process knows it, not as the decoder sent it.
        info = replace(plan.info, path=self._name)
        return replace(plan, info=info, memory_bytes=clip_bytes + self._needed)

    @contextmanager
    def _checked(self, doing: str = "decoded") -> Iterator[None]:
        """Count the block's time, and convert failures of the process to errors for the user."""
        started = time.monotonic()
        try:
            with self._process.within(self.left_s):
                yield
        except (GoneError, LateError) as error:
            limit = f"{self._limits.time_limit:g} s"
            if isinstance(error, GoneError):
                if error.exit_code != _OUT_OF_CPU:
                    raise CrashedError(self._name, error) from error
                if self._opening_s is not None:
                    doing, limit = "opened", f"{self._opening_s:.0f} s of processor time"
            given = self._subtitle_source
            path = None if given is None else given.path  # the process reads that file, too
            beside = "" if path is None else f" with the subtitles {display_name(path)}"
            raise LateVideoError(
                f"{self._name}{beside} isn't {doing} after {limit}: convert it, "
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
    return from_dict(kind, value, _escaped)


def _parse_count(value: Any, most: int) -> int:
    count: int = parsed(Count, value)
    if count > most:
        raise MismatchError(f"more than {most}")
    return count


def parse_warnings(value: Any) -> tuple[str, ...]:
    """Validate warnings from the process; texts are escaped for a terminal."""
    warnings: tuple[str, ...] = parsed(tuple[str, ...], value)
    if len(warnings) > limits.MAX_WARNINGS:
        raise MismatchError("more warnings than any video gives cause for")
    return warnings


def _escaped(text: str) -> str:
    return shown(text).replace("\n", "\\n")
