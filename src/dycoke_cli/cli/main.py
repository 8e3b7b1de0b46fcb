"""Entry point of the `dycoke` program: arguments, signals, error handling and exit codes."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

import typer

from dycoke_cli import plugins
from dycoke_cli.cli import output
from dycoke_cli.errors import DycokeError, OutputError

_COMPLETE = "_DYCOKE_COMPLETE"
_END_S = 1.5  # that a process has after a signal


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code (docs/reference.md has the list)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.platform == "win32":
        sys.exit("this program runs on Linux and macOS; on Windows, install it in WSL")
    try:
        _prepare_streams()
        signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup sets SIG_IGN
            signal.signal(signal.SIGHUP, _terminate)
        from dycoke_cli.cli.app import app, meant, prepare

        arguments = meant(arguments)
        prepare()
        if _COMPLETE not in os.environ and "--quiet" not in arguments:
            from dycoke_cli.cli.render import warning

            for problem in plugins.problems:
                warning(problem)
        command = typer.main.get_command(app)
        code = command.main(arguments, prog_name="dycoke", standalone_mode=False)
        # Typer catches Ctrl-C itself, and returns this code without a message.
        if code == output.Interrupted.exit_code:
            output.say(output.explain(KeyboardInterrupt()))
        return int(code or 0)
    except SystemExit as leaving:
        # Typer raises SystemExit when a pipe closes. The reader has what it wanted, so there is no
        # message; the exit code is that of a program killed by SIGPIPE (13).
        if not isinstance(leaving.__context__, BrokenPipeError):
            raise
        for descriptor in (1, 2):
            output.silence(descriptor)
        return 128 + 13
    except output.Reported as error:
        output.show_traceback()
        output.say(error.reason)
        return error.reason.exit_code
    except typer.TyperException as error:
        from dycoke_cli.cli import unknown_words  # no usual command line needs it

        return _report(unknown_words.explain(error), arguments)
    except (Exception, KeyboardInterrupt) as error:
        output.show_traceback()
        return _report(output.explain(error), arguments)


def run() -> None:
    """Run `main`, and exit without interpreter shutdown.

    Shutdown with torch loaded takes up to a second. All files are closed by now, and worker
    processes end with their pipe. Ray needs its exit handlers.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    try:
        code = main()
    except SystemExit as leaving:
        if not isinstance(leaving.code, int):
            raise
        code = leaving.code
    # A signal may have come while torch was imported, which then isn't listed.
    if "ray" in sys.modules or ("torch" not in sys.modules and code < 128):
        sys.exit(code)
    # `os._exit` doesn't flush.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):
            stream.flush()
    os._exit(code)


def _report(error: DycokeError, arguments: list[str]) -> int:
    """Print an error on stderr, and with --json also on stdout."""
    if "--json" in arguments and sys.stdout is not None:
        from dycoke_cli.cli.app import schema_of

        with suppress(OSError, OutputError):  # a closed stdout must not hide the error on stderr
            output.write_json(output.error_document(schema_of(arguments), error))
    output.say(error)
    return error.exit_code


def _prepare_streams() -> None:
    """Make all text printable in any locale, and check that stdout is open."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (stays open until the process ends)
    if sys.stdout is None:
        raise OutputError("standard output is closed; the answer has nowhere to go")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _watch(signals: int) -> None:
    """End the process where `_terminate` doesn't: the body of a thread.

    Python calls it only between two operations of the main thread, of which one may compute for
    seconds; and a library may catch what it raises.

    Args:
        signals: file descriptor that the numbers of signals are read from.
    """
    while number := os.read(signals, 1):
        if signal.getsignal(number[0]) is _terminate:  # a server has its own
            time.sleep(_END_S)
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")  # shows the cursor
            os._exit(128 + number[0])


def _terminate(signum: int, frame: FrameType | None) -> None:
    # After a hang-up, the terminal's device is no terminal any more, and any write to it fails.
    for descriptor in (1, 2):
        with suppress(OSError):
            device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
            if device and not os.isatty(descriptor):
                output.silence(descriptor)
    # An exception runs the cleanup: temporary files are deleted, and the cursor is shown again.
    raise SystemExit(128 + signum)
