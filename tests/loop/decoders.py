"""In place of the process that decodes: some videos bring it down."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from dycoke_cli.processes.isolated import Channel
from dycoke_cli.video import decoder_process

SLOW_S = 0.5
# Of those variables that the process is given. It may write nothing, so that its notes are names of
# empty files.
NOTES = Path(os.environ.get("LC_NOTES", "."))


def slow(channel: Channel) -> None:
    """Take a while for each video, and note when."""
    _before_each(channel, _slowly)


def decode(channel: Channel) -> None:
    """Obey the name of the video: crash, crash once, exit, hang, or be read."""
    _before_each(channel, _obey)


def _before_each(channel: Channel, act: Any) -> None:
    """Serve as the decoder does, and act when a video comes; without its seal."""
    receive = channel.receive

    def acting() -> Any:
        message, files = receive()
        if "name" in message:
            act(channel, Path(message["name"]).stem)
        return message, files

    channel.receive = acting  # type: ignore[method-assign]
    decoder_process.seal = tuple  # type: ignore[assignment]
    decoder_process.serve(channel)


def _slowly(channel: Channel, name: str) -> None:
    send, begun = channel.send, time.monotonic()

    def noting(message: dict[str, Any], raw: Any = b"", **more: Any) -> None:
        nonlocal begun
        if "needs" in message:
            message["needs"] = 10**9
        if "plan" in message:
            begun = time.monotonic()
            time.sleep(SLOW_S)
            (NOTES / f"{begun} {time.monotonic()} of {name}").touch()
            channel.send = send  # type: ignore[method-assign]
        send(message, raw, **more)

    channel.send = noting  # type: ignore[method-assign]


def _obey(channel: Channel, name: str) -> None:
    kind = name.rstrip("0123456789")
    attempt = len([*NOTES.glob(f"*.{name}")])
    (NOTES / f"{attempt}.{name}").touch()
    if kind == "crash" or (kind == "once" and not attempt):
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(7)
    if kind == "hang":
        time.sleep(1000)
    while kind == "burn":
        pass
    if kind == "asks":
        channel.send({"needs": 1000, "size": [1, 1]})
        os._exit(5)
