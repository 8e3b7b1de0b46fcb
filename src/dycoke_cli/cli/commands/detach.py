"""Daemonization of a command (`serve --background`) with a readiness message to the parent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from dycoke_cli.errors import DycokeError, OutputError, UsageError, error_of
from dycoke_cli.models.explaining import explain
from dycoke_cli.storage.cache_folder import kept, make_folder
from dycoke_cli.storage.output_file import NotOwnFileError, open_own
from dycoke_cli.unicode import to_json


@contextmanager
def detached(begun: Callable[[str], None], wanted: bool) -> Iterator[Callable[[str], None]]:
    """Run the block in a forked background process, with its output in a log file.

    Enter it while the process has a single thread, since a fork copies only the calling thread. The
    parent waits until the block calls the yielded function, and then exits.
    """
    if not wanted:
        yield begun
        return
    if not hasattr(os, "fork"):
        raise UsageError("--background isn't there on this system; leave it out")
    path = kept("serve.log")
    log = _emptied(path)
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with open(reading, "rb") as pipe:
            message = json.loads(pipe.read() or b"{}")
        if "error" in message:
            raise error_of(*message["error"])
        if "text" not in message:
            raise DycokeError(f"it ended before it began; {path} says why")
        begun(message["text"])
        raise typer.Exit
    os.close(reading)
    # A session of its own, so that closing the terminal doesn't end it.
    os.setsid()
    _redirect(log)

    def send(document: dict[str, object]) -> None:
        os.write(writing, to_json(document).encode())
        os.close(writing)

    ready: list[str] = []

    def report_ready(text: str) -> None:
        ready.append(text)
        send({"text": text})

    code = 0
    try:
        yield report_ready
    except BaseException as error:
        reason = explain(error)
        code = reason.exit_code
        if not ready:  # afterwards nobody reads the pipe; the error is in the log
            send({"error": [reason.code, str(reason)]})
    finally:
        os._exit(code)  # the frames above belong to the parent, whose cleanup must not run twice


def _emptied(log: Path) -> int:
    try:
        make_folder(log.parent)
        descriptor = open_own(log)
        os.ftruncate(descriptor, 0)
    except NotOwnFileError as error:
        raise OutputError(f"{error}; remove it, and start the server again") from error
    except OSError as error:
        raise OutputError(f"{log.parent} can't be written ({error.strerror})") from error
    return descriptor


def _redirect(file: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((null, 0), (file, 1), (file, 2)):
        os.dup2(descriptor, stream)
    for descriptor in (null, file):
        os.close(descriptor)
