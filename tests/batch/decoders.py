"""Stands in for the function of `reading` that decodes in a process: some videos bring it down."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from dycoke_cli.batch import reading
from dycoke_cli.video import Sampling, read

SLOW_S = 1.0


def slow(connection: Connection, sampling: Sampling) -> None:
    """Take a second for each video, and note when."""
    while True:
        path = connection.recv()
        connection.send(10**9)
        connection.recv()
        begun = time.monotonic()
        time.sleep(SLOW_S)
        clip = read(path, sampling)
        Path(path).with_suffix(".times").write_text(f"{begun} {time.monotonic()}")
        reading.send(connection, clip)


def decode(connection: Connection, sampling: Sampling) -> None:
    """Obey the name of the video: crash, crash once, exit, hang, or be read."""
    while True:
        path = connection.recv()
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
        reading.serve(connection, path, sampling)
