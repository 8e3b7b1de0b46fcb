"""In place of the process that decodes: it crashes, or somebody has taken it over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from dycoke_cli.processes.isolated import Channel
from dycoke_cli.video import decoder_process


def crash(channel: Channel) -> None:
    """End, as a decoder may at a damaged video."""
    channel.send({})
    channel.receive()
    os.kill(os.getpid(), signal.SIGSEGV)


def nonsense(channel: Channel) -> None:
    """Claim a message of 16 EB."""
    os.write(0, b"\xff" * 64)
    time.sleep(1000)


def long(channel: Channel) -> None:
    """Send a message that is longer than any, in pieces that are none."""
    content = b'{"needs": 1}'.ljust(65_537)
    os.write(0, len(content).to_bytes(8, "little") + content)
    time.sleep(1000)


def escape(channel: Channel) -> None:
    """Send what a terminal would obey."""
    channel.send({})
    channel.receive()
    channel.send({"error": {"code": "video_unreadable", "message": "\x1b[2J\u202eevil\nline"}})
    channel.receive()


def haunt(channel: Channel) -> None:
    """A decoder that its first video takes over: it forges what it reads of any later one."""
    receive, send, videos = channel.receive, channel.send, list[str]()

    def noting() -> tuple[dict[str, Any], list[int]]:
        message, files = receive()
        videos.extend(filter(None, [message.get("name")]))
        return message, files

    def forging(message: dict[str, Any], raw: Any = b"", *most: int, **more: int) -> None:
        if len(videos) > 1 and "time_s" in message:
            raw = bytes(raw.nbytes)
        send(message, raw, *most, **more)

    channel.receive, channel.send = noting, forging  # type: ignore[method-assign]
    decoder_process.serve(channel)


def sealed_by(*means: str) -> Callable[[Channel], None]:
    """A decoder on a system that has these mechanisms alone, or that says nothing of them."""

    def serve(channel: Channel) -> None:
        decoder_process.seal = lambda: means  # type: ignore[assignment]
        decoder_process.serve(channel)

    return serve


unsealed, half_sealed = sealed_by(), sealed_by("landlock")
