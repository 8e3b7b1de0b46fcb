"""The `dycoke` command: its subcommands, and what becomes of errors."""

from __future__ import annotations

import os
import signal
import stat
import sys
from contextlib import suppress
from types import FrameType
from typing import Annotated, Any

import typer

from dycoke_cli.cli import (
    ask,
    batch,
    bench,
    cache,
    demo,
    doctor,
    eval,
    eval_report,
    failure,
    methods,
    models,
    output,
    pages,
    probe,
    schema,
    verify,
)
from dycoke_cli.cli.words import has_suffix
from dycoke_cli.errors import DycokeError, OutputError, UsageError
from dycoke_cli.version import __version__
from dycoke_cli.video.stdin import STDIN


class _Root(pages.Group):
    """The command itself."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand and its arguments; `dycoke VIDEO …` is `dycoke ask VIDEO …`."""
        # `eval` takes the name of a benchmark, so that its own subcommand can't be below it.
        if args[:2] == ["eval", "report"]:
            args = ["eval report", *args[2:]]
        command = _command(args[0])
        return super().resolve_command(ctx, args if command == args[0] else [command, *args])


app = pages.App(_Root)
app.command("ask", brief=ask.BRIEF)(ask.ask)
app.command("batch", brief=batch.BRIEF)(batch.batch)
app.command("probe")(probe.probe)
app.add_typer(models.app, name="models")
app.command("methods")(methods.methods)
app.command("eval", brief=eval.BRIEF)(eval.evaluate)
app.command("eval report")(eval_report.report)
app.command("bench", brief=bench.BRIEF)(bench.bench)
app.add_typer(cache.app, name="cache")
app.command("verify")(verify.verify)
app.command("schema")(schema.schema)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)

_COMMANDS = {each.name for each in app.registered_commands}
_COMMANDS |= {each.name for each in app.registered_groups}

# The document that each command prints with --json.
_DOCUMENTS = {"ask": "answer"} | {
    name: name
    for name in ("bench", "cache", "doctor", "eval", "methods", "models", "probe", "verify")
}


def _command(word: str) -> str:
    """The command that the first word chooses.

    What looks like a video, a folder or a question is asked about.
    """
    if word in _COMMANDS:
        return word
    parts = os.path.dirname(word), os.path.splitext(word)[1]
    other = word == STDIN or " " in word or any(parts) or os.path.exists(word)
    return "ask" if other else word


def _meant(arguments: list[str]) -> list[str]:
    """The arguments, with `help` as the flag, and files whose names begin with a dash as files."""
    arguments = [
        os.path.join(os.curdir, word)
        if word.startswith("-") and has_suffix(word) and os.path.isfile(word)
        else word
        for word in arguments
    ]
    asks_for_help = arguments[:1] == ["help"] or (
        arguments[1:] == ["help"] and arguments[0] in _COMMANDS
    )
    if asks_for_help and not os.path.exists("help"):
        arguments.remove("help")
        arguments.append("--help")
    return arguments


def _print_version(wanted: bool) -> None:
    if wanted:
        output.line(f"dycoke {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Video question answering with training-free visual token compression (DyCoke).

    Examples:
        dycoke demo
        dycoke holiday.mp4 "What happens?"
        dycoke batch footage "What happens?" --out answers.jsonl

    `dycoke VIDEO QUESTION` is short for `dycoke ask VIDEO QUESTION`.
    """
    if context.invoked_subcommand is None:
        context.get_help()  # prints the page


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code (README.md has the list)."""
    arguments = _meant(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    try:
        _prepare_streams()
        signal.signal(signal.SIGTERM, _terminate)
        hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
        if hang_up and signal.getsignal(hang_up) != signal.SIG_IGN:  # which is what nohup asks for
            signal.signal(hang_up, _terminate)
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


def _report(error: DycokeError, arguments: list[str]) -> int:
    """Say what failed, on stdout too where an object was asked for."""
    if "--json" in arguments and sys.stdout is not None:
        words = (word for word in arguments if word == STDIN or not word.startswith("-"))
        document = schema.DOCUMENTS[_DOCUMENTS.get(_command(next(words, "")), "error")]
        with suppress(OSError, OutputError):
            output.write_json(output.error_document(document.schema, error))
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
