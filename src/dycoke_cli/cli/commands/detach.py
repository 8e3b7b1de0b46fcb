"""A command that goes on in the background, once it says that it has begun."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from dycoke_cli.errors import DycokeError, OutputError, UsageError, error_of
from dycoke_cli.models.explaining import explain
from dycoke_cli.storage.cache_folder import cache_folder, make_folder
from dycoke_cli.unicode import to_json


@contextmanager
def detached(begun: Callable[[str], None], wanted: bool) -> Iterator[Callable[[str], None]]:
    """Run the block in a process of its own, whose output goes to a file in the cache folder.

    To be entered before anything starts a thread. This process waits until the block calls what it
    is given, and then ends.

    Args:
        begun: what the block gets where it isn't wanted; else it is called in this process, with
            the text that the block gave.
        wanted: whether there is to be a process; else the block runs here.

    Raises:
        DycokeError: what the block raises before it has begun.
    """
    if not wanted:
        yield begun
        return
    if not hasattr(os, "fork"):
        raise UsageError("--background isn't there on this system; leave it out")
    log = _log_file()
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = json.loads(pipe.read() or b"{}")
        if "error" in told:
            raise error_of(*told["error"])
        if "text" not in told:
            raise DycokeError(f"it ended before it began; {log} says why")
        begun(told["text"])
        raise typer.Exit
    os.close(reading)
    os.setsid()
    _redirect(log)

    def tell(document: dict[str, object]) -> None:
        os.write(writing, to_json(document).encode())
        os.close(writing)

    told_already: list[str] = []

    def has_begun(text: str) -> None:
        told_already.append(text)
        tell({"text": text})

    code = 0
    try:
        yield has_begun
    except BaseException as error:
        reason = explain(error)
        code = reason.exit_code
        if not told_already:
            tell({"error": [reason.code, str(reason)]})
    finally:
        os._exit(code)  # the stack above is the other process's


def _log_file() -> Path:
    try:
        make_folder(cache_folder())
        path = cache_folder() / "serve.log"
        os.close(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    except OSError as error:
        raise OutputError(f"{cache_folder()} can't be written ({error.strerror})") from error
    return path


def _redirect(log: Path) -> None:
    null, file = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND)
    for descriptor, stream in ((null, 0), (file, 1), (file, 2)):
        os.dup2(descriptor, stream)
    for descriptor in (null, file):
        os.close(descriptor)
