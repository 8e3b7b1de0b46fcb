"""Runs the command in this process and in others, and catches all that comes out."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

from dycoke_cli.cli import app as app_module
from dycoke_cli.cli.app import app
from dycoke_cli.cli.main import main
from tests import warm
from tests.cli.fake_engine import faking
from tests.imports import python_path

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "sample_videos" / "move.mp4"
FAKE = faking()
REAL = [sys.executable, "-m", "dycoke_cli"]
PATIENCE_S = 120
HEAVY = ("torch", "transformers", "av", "numpy")
# Typer makes a command's flags of its signature: half of the time of most commands here.
_load = cache(app_module._load)
# Forks for each command, which has imported nothing of another one.
_APART = """
import contextlib, io, json, os, sys, tempfile
from dycoke_cli.cli.main import main
before, commands = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()):
    for words in before:
        main(words)
for words, environment in commands:
    files = [tempfile.TemporaryFile() for _ in range(3)]
    if not (pid := os.fork()):
        os.environ.update(environment)
        for number, file in enumerate(files[:2], 1):
            os.dup2(file.fileno(), number)
        code = 1
        try:
            code = main(words)
        except SystemExit as leaving:
            code = leaving.code or 0
        finally:
            files[2].write(" ".join(sys.modules).encode())
            for stream in (sys.stdout, sys.stderr, files[2]):
                stream.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for file in files:
        file.seek(0)
    print(json.dumps([code, *(file.read().decode() for file in files)]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What a run left."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON objects on stdout, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        (only,) = self.objects
        return only

    @property
    def refusal(self) -> str:
        """The one sentence on stderr that refuses what was asked for; nothing is on stdout."""
        assert (self.code, self.out) == (2, ""), self
        (line,) = [line for line in self.err.splitlines() if line.startswith("Error")]
        return line


def run_here(*arguments: str | Path, stdin: bytes | BinaryIO = b"") -> Outcome:
    """Run `dycoke` with these arguments in this process.

    Args:
        stdin: its content, or an open file such as the end of a pipe.
    """
    out, err = _stream(b""), _stream(b"")
    text = _stream(stdin) if isinstance(stdin, bytes) else io.TextIOWrapper(stdin)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    streams = mock.patch.multiple(sys, stdin=text, stdout=out, stderr=err)
    try:
        with streams, mock.patch.object(app_module, "_load", _load):
            code = main([str(argument) for argument in arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return Outcome(code, _text(out), _text(err))


def understood(words: Sequence[str]) -> Any:
    """The context in which a command would run: its arguments are parsed, and nothing is run."""
    import typer
    from typer.core import TyperGroup

    from dycoke_cli.cli.app import meant

    context: Any = typer.main.get_command(app).make_context("dycoke", meant([*words]))
    while isinstance(context.command, TyperGroup):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break
        name, below, rest = context.command.resolve_command(context, rest)
        context = below.make_context(name, rest, parent=context)
    return context


def run_process(
    command: Sequence[str],
    *arguments: str | Path,
    stdin: bytes = b"",
    fresh: bool = False,
    **environment: str,
) -> Outcome:
    """Run a command as a process, its streams connected to pipes.

    Args:
        fresh: it imports this package itself.
    """
    done = warm.run(
        [*command, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        env={**os.environ, **environment},
        fresh=fresh,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_several(*commands: Sequence[str | Path], **environment: str) -> list[Outcome]:
    """Run commands, one after the other, in one process that the environment is read in."""
    told = json.dumps([[str(word) for word in words] for words in commands])
    environment = {"PYTHONPATH": python_path(), **environment}
    done = run_process([sys.executable, "-m", "tests.cli.several"], told, **environment)
    assert done.code == 0, done.err
    return [Outcome(**outcome) for outcome in done.objects]


def behind(lines: str, command: Sequence[str]) -> list[str]:
    """A command of Python, `FAKE` or such, behind lines of Python."""
    module = command[1] == "-m"
    name, *rest = command[2:] if module else command[1:]
    call = f"run_{'module' if module else 'path'}({name!r}, run_name='__main__'"
    return [sys.executable, "-c", f"{lines}\nimport runpy\nrunpy.{call})", *rest]


def run_fresh(*command: str | Path, **environment: str) -> Outcome:
    """Run a command as a process that has imported nothing yet."""
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **environment},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_code(code: str, *arguments: str | Path, **environment: str) -> Outcome:
    """Run Python in a process that has imported nothing yet."""
    return run_fresh(sys.executable, "-c", code, *arguments, **environment)


def run_light(*commands: Sequence[str | Path], heavy: Sequence[str] = HEAVY) -> Outcome:
    """Run commands, each as a process that may import nothing heavy; the last one's outcome."""
    runs = run_apart(*commands)
    for words, (_, modules) in zip(commands, runs, strict=True):
        assert modules.isdisjoint(heavy), (words, modules & {*heavy})
    return runs[-1][0]


def run_apart(
    *commands: Sequence[str | Path],
    environments: Sequence[Mapping[str, str]] = (),
    before: Sequence[Sequence[str]] = (),
) -> list[tuple[Outcome, set[str]]]:
    """Run each command as a process that has imported nothing yet, and get what it imported.

    Args:
        before: commands whose imports it does have.
    """
    given = environments or [{}] * len(commands)
    told = [(*map(str, words),) for words in commands]
    run = run_code(_APART, json.dumps([before, [*zip(told, given, strict=True)]]))
    assert run.code == 0, run.err
    ended = [json.loads(line) for line in run.out.splitlines()]
    return [(Outcome(*outcome), {*modules.split()}) for *outcome, modules in ended]


def run_completing(
    *lines: str, before: Sequence[Sequence[str]] = ()
) -> list[tuple[Outcome, set[str]]]:
    """Complete the last word of each command line, as a shell does; `before` as of `run_apart`."""
    environments = [
        {
            "_DYCOKE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        for line in lines
    ]
    return run_apart(*[()] * len(lines), environments=environments, before=before)


def run_in_terminal(
    command: Sequence[str],
    *arguments: str | Path,
    streams: str = "both",
    interrupt_after: bytes | None = None,
    typed: bytes = b"",
    environment: Mapping[str, str],
) -> tuple[int, bytes, bytes]:
    """Run a command with a pseudo-terminal as its stdout, stderr or both.

    Returns:
        exit code, what the terminal got, what the pipe got.
    """
    terminal, slave = pty.openpty()
    process = warm.Popen(
        [*command, *map(str, arguments)],
        stdin=slave,
        stdout=slave if streams in ("both", "out") else subprocess.PIPE,
        stderr=slave if streams in ("both", "err") else subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
        start_new_session=True,
    )
    os.close(slave)
    if typed:
        os.write(terminal, typed)
    pipe = process.stdout or process.stderr
    seen = {terminal: b""} | ({} if pipe is None else {pipe.fileno(): b""})
    open_ones = set(seen)
    deadline = time.monotonic() + PATIENCE_S
    while open_ones and time.monotonic() < deadline:
        for descriptor in select.select(list(open_ones), [], [], 1)[0]:
            data = b""
            with suppress(OSError):  # the terminal's way to say that nobody writes to it any more
                data = os.read(descriptor, 65536)
            seen[descriptor] += data
            if not data:
                open_ones.discard(descriptor)
        if interrupt_after is not None and interrupt_after in seen[terminal]:
            process.send_signal(signal.SIGINT)
            interrupt_after = None
    code = process.wait(timeout=10)
    os.close(terminal)
    return code, seen[terminal], b"" if pipe is None else seen[pipe.fileno()]


def _stream(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()


def below(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """A command and its subcommands, by name."""
    import typer

    yield name, command
    for word in getattr(command, "commands", ()):
        found = command.resolve_command(typer.Context(command), [word])[1]
        yield from below(found, f"{name} {word}".strip())
