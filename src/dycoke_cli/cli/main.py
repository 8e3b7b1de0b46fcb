"""The `dycoke` program: from its arguments to its exit code, and what becomes of errors.

What it imports at once reads no plug-ins: the command line names them.
"""

from __future__ import annotations

import os
import shlex
import signal
import stat
import sys
from contextlib import suppress
from types import FrameType

import typer

from dycoke_cli import plugins
from dycoke_cli.cli import failure, output
from dycoke_cli.errors import DycokeError, OutputError, UsageError

_COMPLETE = "_DYCOKE_COMPLETE"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code (README.md has the list)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _prepare_streams()
        signal.signal(signal.SIGTERM, _terminate)
        hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
        if hang_up and signal.getsignal(hang_up) != signal.SIG_IGN:  # which is what nohup asks for
            signal.signal(hang_up, _terminate)
        files, arguments = plugins.split(arguments)
        plugins.name_files([*files, *_named_while_typing()])
        from dycoke_cli.cli.app import app, meant, prepare

        arguments = meant(arguments)
        prepare()
        if _COMPLETE not in os.environ:
            _show_problems(quiet="--quiet" in arguments)
        command = typer.main.get_command(app)
        code = command.main(arguments, prog_name="dycoke", standalone_mode=False)
        # Typer turns Ctrl-C into this code on its own.
        if code == failure.Interrupted.exit_code:
            failure.say(failure.explain(KeyboardInterrupt()))
        return int(code or 0)
    except SystemExit as leaving:
        # How Typer leaves when a pipe closes. Whoever read has what they wanted: nothing to say;
        # the code is that of a program which SIGPIPE (13) ends.
        if not isinstance(leaving.__context__, BrokenPipeError):
            raise
        for descriptor in (1, 2):
            output.silence(descriptor)
        return 128 + 13
    except failure.Reported as error:
        failure.show_traceback()
        failure.say(error.reason)
        return error.reason.exit_code
    except typer.TyperException as error:
        return _report(_usage(error), arguments)
    except (Exception, KeyboardInterrupt) as error:
        failure.show_traceback()
        return _report(failure.explain(error), arguments)


def run() -> None:
    """The `dycoke` program: `main`, and then leave at once.

    Taking torch apart would keep the prompt away for up to a second. All files are closed by now,
    and worker processes end when their pipe does; Ray has things of its own to end.
    """
    try:
        code = main()
    except SystemExit as leaving:
        if not isinstance(leaving.code, int):
            raise
        code = leaving.code
    if "torch" not in sys.modules or "ray" in sys.modules:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):
            stream.flush()
    os._exit(code)


def _named_while_typing() -> list[str]:
    """The plug-ins of a line that the shell completes, as its script hands it over."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    with suppress(ValueError):  # a quote that isn't closed yet
        return plugins.split(shlex.split(line))[0] if _COMPLETE in os.environ else []
    return []


def _show_problems(quiet: bool) -> None:
    """Warn of plug-ins that can't be used.

    Raises:
        UsageError: the command line names one of them.
    """
    from dycoke_cli.cli.render import warning

    for problem in plugins.problems:
        if problem.asked:
            raise UsageError(problem.sentence) from problem.error
        if not quiet:
            warning(problem.sentence)


def _report(error: DycokeError, arguments: list[str]) -> int:
    """Say what failed, on stdout too where an object was asked for."""
    if "--json" in arguments and sys.stdout is not None:
        from dycoke_cli.cli.app import schema_of

        with suppress(OSError, OutputError):
            output.write_json(output.error_document(schema_of(arguments), error))
    failure.say(error)
    return error.exit_code


def _usage(error: typer.TyperException) -> UsageError:
    """Typer's own complaint as one sentence, with the page that helps."""
    context = getattr(error, "ctx", None)
    hint = f" (see `{context.command_path} --help`)" if context else ""
    return UsageError(f"{error.format_message().rstrip('.')}{hint}")


def _prepare_streams() -> None:
    """Make text printable whatever the locale, and notice streams that are closed."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (stays open until the process ends)
    if sys.stdout is None:
        raise OutputError("standard output is closed; the answer has nowhere to go")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _terminate(signum: int, frame: FrameType | None) -> None:
    # A terminal that hung up is none any more, and fails whatever still writes to it.
    for descriptor in (1, 2):
        with suppress(OSError):
            device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
            if device and not os.isatty(descriptor):
                output.silence(descriptor)
    # As an exception, so that temporary files go and the terminal's cursor comes back.
    raise SystemExit(128 + signum)
