"""In place of the function of `read_ahead` that decodes in a process: some videos bring it down."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from dycoke_cli.runs import read_ahead
from dycoke_cli.video import read

SLOW_S = 1.0


def slow(connection: Connection) -> None:
    """Take a second for each video, and note when."""
    while True:
        path, sampling, subtitles = connection.recv()
        connection.send(10**9)
        connection.recv()
        begun = time.monotonic()
        time.sleep(SLOW_S)
        clip = read(path, sampling, subtitles=subtitles)
        Path(path).with_suffix(".times").write_text(f"{begun} {time.monotonic()}")
        read_ahead.send(connection, clip)


def decode(connection: Connection) -> None:
    """Obey the name of the video: crash, crash once, exit, hang, or be read."""
    while True:
        path, sampling, subtitles = connection.recv()
        name = Path(path).stem.rstrip("0123456789")
        note = Path(path).with_suffix(".attempts")
        with note.open("a") as file:
            file.write("x")
        if name == "crash" or (name == "once" and note.read_text() == "x"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name == "exit":
            sys.exit(7)
        if name == "hang":
            time.sleep(1000)
        if name == "asks":
            connection.send(1000)
            sys.exit(5)
        read_ahead.serve(connection, path, sampling, subtitles)
