"""Main loop of the decoder process: receives open files, and sends decoded frames.

It never opens a file by itself. So it can enter the sandbox, which forbids that, before it reads
the first byte of a video.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from importlib import import_module
from io import FileIO
from pkgutil import walk_packages
from typing import Any

import av
import numpy as np

from dycoke_cli.errors import DycokeError, VideoError
from dycoke_cli.processes.isolated import Channel
from dycoke_cli.processes.sandbox import seal
from dycoke_cli.video import limits
from dycoke_cli.video.decode import Reader
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.source import threads_at_most, video_in
from dycoke_cli.video.subtitles import ENCODINGS, Subtitles, SubtitleSource

_CHUNK_BYTES = 1024**2


@cache
def prepare() -> None:
    """Load what can't be read inside the sandbox; runs once in the zygote of all decoders."""
    # Lazy imports (codecs of subtitles, modules of PyAV), the number of CPUs, and OpenSSL's files.
    for encoding in (*ENCODINGS, "unicode_escape"):
        "".encode(encoding)
    for module in walk_packages(av.__path__, "av."):
        # `av.datasets` downloads clips, for which it imports clients of the network.
        if not module.name.endswith(("__main__", "datasets")):
            import_module(module.name)
    threads_at_most()
    sha256(bytes(_CHUNK_BYTES))


def serve(channel: Channel) -> None:
    """Read a video, or the pictures of one, until the other end of the channel is closed."""
    prepare()
    channel.send({"sealed": seal()})
    while True:
        request, files = channel.receive()
        with errors_sent(channel, request["name"]), ExitStack() as stack:
            # Where descriptors can't be sent (Windows), the request has paths instead.
            opened = [stack.enter_context(FileIO(file)) for file in files or request["paths"]]
            if "sampling" in request:
                _read(channel, request, opened, stack)
            else:
                channel.send({"digest": _digest(opened[0], request["name"])})


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
        channel.send({"error": _error_message(name, error)})


def _digest(file: FileIO, name: str) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = sha256()
    try:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    except OSError as error:
        raise VideoError(f"{name} can't be read ({error.strerror}): check its disk") from error
    return digest.hexdigest()


def _read(
    channel: Channel, request: dict[str, Any], opened: list[FileIO], stack: ExitStack
) -> None:
    sampling = Sampling(**request["sampling"])
    subtitles = request["subtitles"] and SubtitleSource(**request["subtitles"])
    given = (opened[0], sampling.stream, request["name"], sampling.input_fps)
    source = stack.enter_context(video_in(*given, request["most_pixels"]))
    # Twice the parent decides whether to continue, because only it knows how much memory is free:
    # before the first frame is decoded, and before all are read.
    channel.send({"needs": source.decoding_bytes, "size": source.stored_size})
    if not continues(channel):
        return
    reader = Reader(source, sampling, subtitles, *opened[1:], fitted=request["fitted"])
    plan = asdict(reader.plan)
    times = np.array(plan.pop("times_s"), np.float64)
    channel.send({"plan": plan, "times": len(times)}, times)
    if not continues(channel):
        return
    for time_s, frame in reader.frames():
        channel.send({"time_s": time_s}, np.ascontiguousarray(frame))
    warnings, lines = reader.rest()
    audio = reader.audio()
    samples = np.empty(0, np.float32) if audio is None else audio.samples
    _send_subtitles(channel, lines, request["name"])
    channel.send(
        {"warnings": warnings, "samples": None if audio is None else len(samples)}, samples
    )


def _send_subtitles(channel: Channel, subtitles: Subtitles | None, name: str) -> None:
    """Send subtitles: a message, then the times, the lengths and the texts of all lines."""
    if subtitles is None:
        channel.send({"subtitles": None})
        return
    lines = subtitles.lines
    texts = [line.text.encode("utf-8", "surrogatepass") for line in lines]
    text = b"".join(texts)
    if len(lines) > limits.MAX_SUBTITLE_LINES or len(text) > limits.MAX_SUBTITLE_BYTES:
        raise VideoError(
            f"the frames of {name} have more than {limits.MAX_SUBTITLE_LINES} subtitles, or "
            f"{limits.MAX_SUBTITLE_BYTES // 1024**2} MiB of them: leave out --subtitles"
        )
    times = np.array([(line.start_s, line.end_s) for line in lines], np.float64)
    lengths = np.array([len(one) for one in texts], np.uint32)
    head = {"source": subtitles.source, "warnings": subtitles.warnings}
    message = {**head, "lines": len(lines), "text_bytes": len(text)}
    channel.send({"subtitles": message}, times.tobytes() + lengths.tobytes() + text)


def continues(channel: Channel) -> bool:
    """Whether the parent, which knows how much memory is free, lets this process continue."""
    return bool(channel.receive()[0]["go"])


def _error_message(name: str, error: Exception) -> dict[str, str]:
    if not isinstance(error, DycokeError):
        error = VideoError(
            f"{name} can't be decoded ({type(error).__name__}: {str(error)[:200]}): convert it, or "
            "leave it out"
        )
    return {"code": error.code, "message": str(error)}
