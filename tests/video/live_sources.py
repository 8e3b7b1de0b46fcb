"""Live sources at test time: a file that grows, and a pipe."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import av

from tests.video.clips import Recipe, write_coded

RATE, SECONDS = 8, 10
FRAGMENTED = (("movflags", "frag_keyframe+empty_moov+default_base_moof"),)


def recorded(folder: Path, suffix: str = ".ts", seconds: int = SECONDS) -> Path:
    """A recording of some seconds with numbered frames, as recorders write it without an end."""
    options = FRAGMENTED if suffix == ".mp4" else ()
    path = folder / f"recorded{suffix}"
    write_coded(
        path, Recipe(suffix, frames=RATE * seconds, rate=RATE, gop=RATE, container_options=options)
    )
    return path


def up_to(path: Path, seconds: float) -> int:
    """Bytes of a recording before the first packet from these seconds on."""
    with av.open(str(path)) as container:
        begin = None
        for packet in container.demux(video=0):
            if packet.pts is None or packet.time_base is None:
                continue
            begin = packet.pts if begin is None else min(begin, packet.pts)
            if (packet.pts - begin) * packet.time_base >= seconds:
                return int(packet.pos or 0)
    raise ValueError("it is shorter")


@contextmanager
def growing(recording: Path, path: Path, pieces: int = 20, pause_s: float = 0.02) -> Iterator[None]:
    """Write a copy of a recording piece by piece, in a thread, while the block runs."""
    content = recording.read_bytes()
    size = -(-len(content) // pieces)
    path.touch()

    def write() -> None:
        for begin in range(0, len(content), size):
            with path.open("ab") as file:
                file.write(content[begin : begin + size])
            time.sleep(pause_s)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def piped(send: Callable[[Callable[[bytes], object]], object]) -> Iterator[BinaryIO]:
    """End of a pipe, which is closed once a function has written into it, in a thread.

    Args:
        send: called with a function that writes bytes.
    """
    reading, writing = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError), open(writing, "wb", buffering=0) as pipe:
            send(pipe.write)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reading, "rb") as pipe:
        yield pipe
    thread.join()
