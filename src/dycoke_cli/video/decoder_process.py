"""In the process of a decoder: reads the videos that it is given, open, and sends frames.

It opens no file itself, so that it gives up the right to before it sees the first byte of any.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from io import FileIO
from pkgutil import walk_packages
from typing import Any

import av
import numpy as np

from dycoke_cli.errors import DycokeError, VideoError
from dycoke_cli.processes.isolated import Channel
from dycoke_cli.processes.sandbox import seal
from dycoke_cli.video.decode import Reader
from dycoke_cli.video.decoding_memory import threads_at_most
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.source import video_in
from dycoke_cli.video.subtitles import ENCODINGS, SubtitleSource


def serve(channel: Channel) -> None:
    """Read one video after the other, until nobody is at the other end any more."""
    # What Python and PyAV would import, and ask the system for, at the first video that needs it.
    for encoding in (*ENCODINGS, "unicode_escape"):
        "".encode(encoding)
    for module in walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    threads_at_most()
    seal()
    channel.send({})
    while True:
        request, files = channel.receive()
        try:
            with ExitStack() as stack:
                _read(channel, request, files, stack)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except MemoryError:
            channel.send({"out_of_memory": True})
        except Exception as error:
            channel.send({"error": _told(request["name"], error)})


def _read(channel: Channel, request: dict[str, Any], files: list[int], stack: ExitStack) -> None:
    # By their names where descriptors can't be sent.
    opened = [stack.enter_context(FileIO(file)) for file in files or request["paths"]]
    sampling = Sampling(**request["sampling"])
    subtitles = request["subtitles"] and SubtitleSource(**request["subtitles"])
    source = stack.enter_context(video_in(opened[0], sampling.stream, request["name"]))
    channel.send({"needs": source.decoding_bytes, "size": source.stored_size})
    if not _may_go_on(channel):
        return
    reader = Reader(source, sampling, subtitles, *opened[1:])
    channel.send({"plan": asdict(reader.plan)})
    if not _may_go_on(channel):
        return
    for time_s, frame in reader.frames():
        channel.send({"time_s": time_s}, np.ascontiguousarray(frame))
    warnings, lines = reader.rest()
    audio = reader.audio()
    heard = np.empty(0, np.float32) if audio is None else audio.samples
    told = {"warnings": warnings, "subtitles": lines and asdict(lines)}
    channel.send({**told, "samples": None if audio is None else len(heard)}, heard)


def _may_go_on(channel: Channel) -> bool:
    return bool(channel.receive()[0]["go"])


def _told(name: str, error: Exception) -> dict[str, str]:
    if not isinstance(error, DycokeError):
        error = VideoError(
            f"{name} can't be decoded ({type(error).__name__}: {str(error)[:200]}): convert it, or "
            "leave it out"
        )
    return {"code": error.code, "message": str(error)}
