"""The process that decodes a video: it receives open files, and sends the planned frames.

It never opens a file by itself. So it can enter the sandbox, which forbids that, before it reads
the first byte of a video.

Decoding runs forward. Before a wide gap it seeks to the last keyframe before the next wanted time,
if the index has one behind the current position. So the work is one pass over the video at most,
and much less if wanted times are far apart. Of a live source it sends the frames of each window,
without end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from fractions import Fraction
from functools import cache
from importlib import import_module
from io import FileIO
from itertools import chain
from math import inf
from pkgutil import walk_packages
from typing import Any, BinaryIO, cast

import av
import av.logging
import numpy as np

from dycoke_cli.errors import DycokeError, UsageError, VideoError
from dycoke_cli.processes.isolated import Channel
from dycoke_cli.processes.sandbox import seal
from dycoke_cli.unicode import display_name
from dycoke_cli.video import limits
from dycoke_cli.video.clip import FramePlan
from dycoke_cli.video.color import Geometry, opaque, to_rgb
from dycoke_cli.video.containers import open_descriptor
from dycoke_cli.video.planning import describe, plan_of
from dycoke_cli.video.sampling import Sampling, Seconds, Window, exact, wanted_times, window
from dycoke_cli.video.source import Picture, VideoSource, threads_at_most
from dycoke_cli.video.subtitles import (
    ENCODINGS,
    Subtitles,
    SubtitleSource,
    parse_subtitles,
    read_stream,
    text_stream,
)

# Gaps up to this are decoded through, which is as fast as a seek.
_SHORT_GAP_S = 0.5
# Matroska rounds time stamps to 1 ms, so the frame at 1.000 s may have 0.9995.
_ROUNDING_S = Fraction(1, 1000)


class Reader:
    """Reader of an open video's planned frames. Made in the process that decodes.

    Args:
        subtitles: to read with them; None for none.

    Attributes:
        plan: frames that will be read.
    """

    def __init__(
        self,
        source: VideoSource,
        sampling: Sampling,
        subtitles: SubtitleSource | None = None,
        subtitle_file: BinaryIO | None = None,
    ) -> None:
        self._source = source
        self.plan, self._geometry, self._part, self._wanted = plan_of(source, sampling)
        self._sampling = sampling
        self._subtitles: Subtitles | int | None = None
        self._without: tuple[str, ...] = ()
        if subtitle_file is not None and subtitles is not None:
            of_file = parse_subtitles(subtitle_file, display_name(subtitles.path or ""))
            self._subtitles = of_file.shifted(float(source.starts_s))
        elif subtitles is not None and subtitles.speech is None:
            found = text_stream(source)
            if isinstance(found, int):  # its lines are read after the frames
                self._subtitles = found
            elif subtitles.required:
                raise UsageError(f"{found}; leave out --subtitles")
            else:
                self._without = (f"{found}; answered without them",)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Read the frames with their times, once. `rest` is available afterwards."""
        source = self._source
        self._times = list[float]()
        # Planning has read packets to the end.
        source.rewind()
        for found in nearest_frames(Seeker(source), self._wanted, self._part):
            self._times.append(float(found.time_s))
            yield self._times[-1], rgb(source, found, self._geometry)
        if not self._times:
            raise VideoError(f"{source.name} has no picture that can be decoded in that part of it")

    def rest(self) -> tuple[tuple[str, ...], Subtitles | None]:
        """Warnings, and the subtitles that are displayed at the frames that were read."""
        subtitles = self._subtitles
        # A stream is interleaved with the video. Reading it up to the last frame is enough, and for
        # a short part of a long video far less than all.
        if isinstance(subtitles, int):
            subtitles = read_stream(self._source, subtitles, self._times[-1])
        lines = None if subtitles is None else subtitles.at(self._times)
        of_lines = self._without if lines is None else lines.warnings
        return (*self.plan.warnings, *damage(self._source), *of_lines), lines


def nearest_frames(seeker: Seeker, wanted: Sequence[Seconds], part: Window) -> Iterator[Picture]:
    """Yield the frame nearest to each wanted time; of two equally near ones the earlier.

    Only frames of the part count. If it has none (it lies between two frames), the frame that is
    displayed at its start is used.

    Args:
        wanted: times in seconds from the first frame, ascending.
    """
    last_s: Seconds | None = None
    fallback: Picture | None = None
    for time in wanted:
        pair = [picture for picture in seeker.around(time) if picture is not None]
        fallback = fallback or (pair[0] if pair else None)
        inside = [p for p in pair if part.first_s - _ROUNDING_S <= p.time_s < part.end_s]
        if not inside:
            continue
        best = min(inside, key=lambda picture: abs(picture.time_s - Fraction(time)))
        # Wanted times closer together than frames have the same nearest frame.
        if last_s is None or best.time_s > last_s:
            last_s = best.time_s
            yield best
    if last_s is None and fallback is not None:
        yield fallback


class Seeker:
    """Finds the two frames around a wanted time, by seeking and decoding forward.

    Example with keyframes every 2 s: after wanted time 0 s comes 5 s. The gap is wide, so it seeks
    to the keyframe at 4 s and decodes to 5 s. For wanted times 0, 1, 2, … s a seek to 1 s would
    land on the keyframe at 0 s, where decoding has already been, so it decodes on.

    Attributes:
        ended: whether the last frame has been decoded.
    """

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self._pictures = source.pictures()
        self._before: Picture | None = None
        self._after: Picture | None = None
        self.ended = False

    def around(self, time_s: Seconds) -> tuple[Picture | None, Picture | None]:
        """The frames at or before and after a time, which must not decrease between calls."""
        if self._after is not None and self._after.time_s >= time_s:
            return self._before, self._after
        position = float(self._after.time_s) if self._after else 0.0
        is_far = not self.ended and time_s - position > _SHORT_GAP_S
        leads_on = is_far and self._source.leads_on(float(time_s), position)
        keyframe = self._jump(float(time_s)) if leads_on else None
        self._advance(time_s)
        # No frame after the keyframe can be decoded (a damaged end of the file). Go back one
        # keyframe at a time, until there is a frame that can. Half an interval before a keyframe
        # is certainly after the frame in front of it.
        while keyframe is not None and self._before is None and self._after is None:
            keyframe = self._jump(keyframe - float(self._source.interval) / 2)
            self._advance(time_s)
        return self._before, self._after

    def _jump(self, time_s: float) -> float | None:
        """Decode from the keyframe before a time; returns its time, or None from the beginning."""
        keyframe = self._source.seek(time_s)
        self._pictures = self._source.pictures()
        self._before = self._after = None
        self.ended = False
        return keyframe

    def _advance(self, time_s: Seconds) -> None:
        """Decode until `_after` is at or after a time, or the file ends."""
        while not self.ended and (self._after is None or self._after.time_s < time_s):
            self._before = self._after or self._before
            # Dropped first, so that only two decoded frames are in memory while the next is made.
            self._after = None
            self._after = next(self._pictures, None)
            self.ended = self._after is None


def rgb(source: VideoSource, picture: Picture, geometry: Geometry) -> np.ndarray:
    """A picture as it is displayed, RGB, uint8 [H, W, 3]."""
    # Uncompressed 32-bit AVI is declared to have alpha, but most programs leave it at zero.
    is_avi = source.container.format.name == "avi"
    return to_rgb(opaque(picture.frame, blank_is_unused=is_avi), geometry)


def damage(source: VideoSource) -> tuple[str, ...]:
    """A warning about the packets that couldn't be decoded so far, if there were any."""
    if not (count := len(source.damaged)):
        return ()
    what = "1 damaged packet was" if count == 1 else f"{count} damaged packets were"
    return (f"{source.name} is damaged: {what} skipped",)


@cache
def prepare() -> None:
    """Load what can't be read inside the sandbox; runs once in the zygote of all decoders."""
    # Lazy imports (codecs of subtitles, modules of PyAV), and the number of CPUs.
    for encoding in (*ENCODINGS, "unicode_escape"):
        "".encode(encoding)
    for module in walk_packages(av.__path__, "av."):
        # `av.datasets` downloads clips, for which it imports clients of the network.
        if not module.name.endswith(("__main__", "datasets")):
            import_module(module.name)
    threads_at_most()
    av.logging.set_level(None)  # our errors and warnings say what it would


def serve(channel: Channel) -> None:
    """Read a video, or the pictures of one, until the other end of the channel is closed.

    A live source is read until it ends.
    """
    prepare()
    channel.send({"sealed": seal()})
    while True:
        request, files = channel.receive()
        with errors_sent(channel, request["name"]), ExitStack() as stack:
            opened = [stack.enter_context(FileIO(file)) for file in files]
            (_read_live if request["live"] else _read)(channel, request, opened, stack)


@contextmanager
def errors_sent(channel: Channel, name: str) -> Iterator[None]:
    """Send what fails in the block to the parent."""
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except MemoryError:
        channel.send({"out_of_memory": True})
    except Exception as error:
        if not isinstance(error, DycokeError):
            error = VideoError(
                f"{name} can't be decoded ({type(error).__name__}: {str(error)[:200]}): convert "
                "it, or leave it out"
            )
        channel.send({"error": {"code": error.code, "message": str(error)}})


def _read(
    channel: Channel, request: dict[str, Any], opened: list[FileIO], stack: ExitStack
) -> None:
    sampling = Sampling(**request["sampling"])
    subtitles = request["subtitles"] and SubtitleSource(**request["subtitles"])
    given = (opened[0], sampling.stream, request["name"])
    source = stack.enter_context(closing(VideoSource(*given, request["most_pixels"])))
    # Twice the parent decides whether to continue, because only it knows how much memory is free:
    # before the first frame is decoded, and before all are read.
    channel.send({"needs": source.decoding_bytes, "size": source.stored_size})
    if not channel.receive()[0]["go"]:
        return
    reader = Reader(source, sampling, subtitles, *opened[1:])
    channel.send({"plan": asdict(reader.plan)}, most_bytes=limits.MAX_PLAN_BYTES)
    if not channel.receive()[0]["go"]:
        return
    for time_s, frame in reader.frames():
        channel.send({"time_s": time_s}, np.ascontiguousarray(frame))
    warnings, lines = reader.rest()
    message = {
        "subtitles": None if lines is None else asdict(lines),
        "warnings": warnings,
    }
    try:
        channel.send(message, most_bytes=limits.MAX_SUBTITLE_BYTES)
    except ValueError as error:
        raise VideoError(
            f"the frames of {request['name']} have more than {limits.MAX_SUBTITLE_BYTES >> 20} "
            "MiB of subtitles: leave out --subtitles"
        ) from error
    if subtitles is not None and subtitles.speech is not None:
        wanted, notes = channel.receive()[0], list[str]()
        if wanted["go"]:
            for samples in sound(source, wanted["part_s"], notes):
                channel.send({"samples": len(samples)}, np.ascontiguousarray(samples))
            channel.send({"notes": notes})


# The sound of an open video, after its pictures.

# Of telephones and studios: at lower rates nobody is understood, and higher ones take forever.
_LOWEST, _HIGHEST = 4_000, 768_000
# Longer gaps between time stamps are pauses of a recording, and shorter ones are rounded times.
_GAP = limits.RATE // 10
_LEAD_S = 1  # decoded before the part: some codecs begin with a fade


def sound(
    source: VideoSource, part_s: tuple[float, float], notes: list[str]
) -> Iterator[np.ndarray]:
    """Yield the sound of a part, mono and without a gap, in pieces `[N]`, float32, at `RATE`.

    `notes` receives what is to be said of it; each follows the name of the video.
    """
    start_s, end_s = part_s
    source.rewind()
    stream = cast("av.AudioStream | None", source.container.streams.best("audio"))
    if stream is None or (context := stream.codec_context) is None:
        notes.append("has no sound track" if stream is None else "has sound of an unknown codec")
        return
    if not _LOWEST <= context.sample_rate <= _HIGHEST:
        rates = f"and speech is heard at {_LOWEST} to {_HIGHEST}"
        notes.append(f"has sound of {context.sample_rate} samples per second, {rates}")
        return
    # Numbers of samples, from the start of the part: its end, and the next to send.
    length, at = round((end_s - start_s) * limits.RATE), 0
    resampler, damaged = av.AudioResampler("flt", "mono", limits.RATE), 0
    for packet in source.demux(stream):
        time_s = source.packet_time(packet)
        if time_s is not None and time_s < start_s - _LEAD_S:
            continue
        if at >= length:
            break
        try:
            resampled = [(one, resampler.resample(one)) for one in context.decode(packet)]
        except MemoryError:  # FFmpeg's own is an FFmpegError, too, but not a damaged packet
            raise
        except (av.FFmpegError, OSError, ValueError):
            damaged += 1
            continue
        for frame, found in resampled:
            first = at
            if frame.pts is not None and frame.time_base:
                time_s = frame.pts * frame.time_base - source.packet_origin
                first = round((float(time_s) - start_s) * limits.RATE)
            at = first if first < 0 else max(at, 0)
            while (silence := min(first, length) - at) > _GAP:
                yield np.zeros(silence := min(silence, limits.MAX_SAMPLES), np.float32)
                at += silence
            for each in found:
                samples = each.to_ndarray()[0][max(0, -at) : max(0, length - at)]
                for begin in range(0, len(samples), limits.MAX_SAMPLES):
                    yield samples[begin : begin + limits.MAX_SAMPLES]
                at += each.samples
    if damaged:
        what = "1 packet" if damaged == 1 else f"{damaged} packets"
        notes.append(f"has {what} of sound that can't be decoded to one channel, left out")


# Steps back of time stamps up to this are left alone: some cameras have such jitter.
_JITTER_S = 1
_UNREADABLE = (
    "can't be read while it comes, or is empty: write MPEG-TS (`ffmpeg -i SOURCE -c copy -f mpegts "
    "-`), Matroska or fragmented MP4; `dycoke ask --every` reads a finished file"
)


class LiveSource(VideoSource):
    """Open live video stream.

    Args:
        stream: index of the stream; None for the best.
    """

    # With a frame a thread, the decoder would hold back the newest frames.
    _delays_frames = False

    def __init__(self, pipe: FileIO, stream: int | None, name: str) -> None:
        self._pipe = pipe
        self._decoded: Iterator[Picture] = iter(())
        super().__init__(cast("Any", pipe), stream, name)

    def _begin(self) -> None:
        try:
            self.container = open_descriptor(self._pipe.fileno(), limits.MAX_PICTURE_PIXELS)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{self.name} {_UNREADABLE}") from error

    def first_picture(self) -> Picture:
        """See `VideoSource`; `pictures` begins with this frame as well."""
        self._decoded = super().pictures()
        first = next(self._decoded, None)
        if first is None or self._last is None:
            raise VideoError(f"{self.name} {_UNREADABLE}")
        self.origin, self._last = self._last, Fraction(0)
        first = replace(first, time_s=Fraction(0))
        self._decoded = chain((first,), self._decoded)
        return first

    @property
    def ending(self) -> str | None:
        """Why the packets ended before their time; None where they didn't, or nobody here knows."""
        if self.failure is None:
            return None
        return getattr(self.failure, "strerror", None) or type(self.failure).__name__

    def pictures(self) -> Iterator[Picture]:
        """Decoded frames, each once. Where time stamps begin again, the clock goes on."""
        last, shift = Fraction(0), Fraction(0)
        for picture in self._decoded:
            time = picture.time_s + shift
            if time < last - _JITTER_S:
                shift += last + self.interval - time
                time = last + self.interval
            last = max(last, time)
            yield replace(picture, time_s=time)


def _read_live(
    channel: Channel, request: dict[str, Any], opened: list[FileIO], stack: ExitStack
) -> None:
    sampling = Sampling(**request["sampling"])
    source = LiveSource(opened[0], sampling.stream, request["name"])
    stack.enter_context(closing(source))
    channel.send({"needs": source.decoding_bytes, "size": source.stored_size})
    if not channel.receive()[0]["go"]:
        return
    info, geometry = describe(source)
    every = exact(cast(float, sampling.end_s))
    times = tuple(map(float, wanted_times(sampling, _part(source, sampling, Fraction(0)))[0]))
    plan = FramePlan(times, *geometry.shown_size, info, ())
    channel.send({"plan": asdict(plan)}, most_bytes=limits.MAX_PLAN_BYTES)
    if channel.receive()[0]["go"]:
        _send_windows(channel, source, geometry, sampling, every)


def _send_windows(
    channel: Channel, source: LiveSource, geometry: Geometry, sampling: Sampling, every: Fraction
) -> None:
    """Send the frames of each window, then its times; windows without frames are skipped."""
    seeker = Seeker(source)
    begin = Fraction(0)
    while (after := seeker.around(begin)[1]) is not None:
        begin += (after.time_s - begin) // every * every
        part = _part(source, sampling, begin)
        last = begin
        for found in nearest_frames(seeker, wanted_times(sampling, part)[0], part):
            picture = rgb(source, found, geometry)
            channel.send({"time_s": float(found.time_s)}, np.ascontiguousarray(picture))
            last = found.time_s
        end = begin + every
        if seeker.ended:
            end = min(end, last + source.interval)
        times = [float(begin), float(end)]
        channel.send({"window": times, "warnings": damage(source)})
        source.damaged.clear()
        begin += every
    channel.send({"ended": source.ending})


def _part(source: LiveSource, sampling: Sampling, begin: Fraction) -> Window:
    """Part of the video that a window is, as `--start` and `--end` would name it."""
    end = begin + exact(cast(float, sampling.end_s))
    named = replace(sampling, start_s=float(begin), end_s=float(end))
    return window(named, inf, inf, source.interval)
