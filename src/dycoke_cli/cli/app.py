"""The subcommands of `dycoke`, and the flags before them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dycoke_cli import plugins
from dycoke_cli.cli import (
    ask,
    batch,
    bench,
    cache,
    chat,
    demo,
    doctor,
    eval,
    eval_report,
    inspect,
    methods,
    models,
    output,
    pages,
    probe,
    schema,
    serve,
    tune,
    verify,
)
from dycoke_cli.cli.words import has_suffix
from dycoke_cli.version import __version__
from dycoke_cli.video.stdin import STDIN


class _Root(pages.Group):
    """The command itself."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand and its arguments; `dycoke VIDEO …` is `dycoke ask VIDEO …`."""
        # `eval` takes the name of a benchmark, so that its own subcommand can't be below it.
        if args[:2] == ["eval", "report"]:
            args = ["eval report", *args[2:]]
        command = command_of(args[0])
        return super().resolve_command(ctx, args if command == args[0] else [command, *args])


app = pages.App(_Root)
app.command("ask", brief=ask.BRIEF)(ask.ask)
app.command("chat", brief=chat.BRIEF)(chat.chat)
app.command("serve", brief=serve.BRIEF)(serve.serve)
app.command("batch", brief=batch.BRIEF)(batch.batch)
app.command("inspect", brief=inspect.BRIEF)(inspect.inspect)
app.command("probe")(probe.probe)
app.add_typer(models.app, name="models")
app.command("methods")(methods.methods)
app.command("eval", brief=eval.BRIEF)(eval.evaluate)
app.command("eval report")(eval_report.report)
app.command("bench", brief=bench.BRIEF)(bench.bench)
app.command("tune", brief=tune.BRIEF)(tune.tune)
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
    for name in (
        "bench",
        "cache",
        "doctor",
        "eval",
        "inspect",
        "methods",
        "models",
        "probe",
        "verify",
    )
}


def command_of(word: str) -> str:
    """The command that the first word chooses.

    What looks like a video, a folder or a question is asked about.
    """
    if word in _COMMANDS:
        return word
    parts = os.path.dirname(word), os.path.splitext(word)[1]
    other = word == STDIN or " " in word or any(parts) or os.path.exists(word)
    return "ask" if other else word


def meant(arguments: list[str]) -> list[str]:
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
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            plugins.FLAG,
            metavar="FILE.py",
            help="Also load the methods, benchmarks and families of a Python file; of any command, "
            f"and repeatable. {plugins.ENVIRONMENT} names files for all commands.",
            show_default=False,
        ),
    ] = None,
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


def schema_of(arguments: list[str]) -> str:
    """The schema of what a command line prints with --json."""
    words = (word for word in arguments if word == STDIN or not word.startswith("-"))
    return schema.DOCUMENTS[_DOCUMENTS.get(command_of(next(words, "")), "error")].schema
