"""Root command of `dycoke`: lazily imported subcommands, and global flags."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from dycoke_cli import plugins
from dycoke_cli.cli import output, pages
from dycoke_cli.cli.flags.words import has_suffix
from dycoke_cli.version import __version__
from dycoke_cli.video.stdin import STDIN

_HOMES = {
    "ask": "dycoke_cli.cli.commands.ask:ask",
    "chat": "dycoke_cli.cli.commands.chat:chat",
    "serve": "dycoke_cli.cli.commands.serve:serve",
    "batch": "dycoke_cli.cli.commands.batch:batch",
    "inspect": "dycoke_cli.cli.commands.inspect:inspect",
    "probe": "dycoke_cli.cli.commands.probe:probe",
    "models": "dycoke_cli.cli.commands.models:app",
    "methods": "dycoke_cli.cli.commands.methods:methods",
    "eval": "dycoke_cli.cli.commands.eval:evaluate",
    "eval report": "dycoke_cli.cli.commands.eval_report:report",
    "bench": "dycoke_cli.cli.commands.bench:bench",
    "tune": "dycoke_cli.cli.commands.tune:tune",
    "cache": "dycoke_cli.cli.commands.cache:app",
    "verify": "dycoke_cli.cli.commands.verify:verify",
    "schema": "dycoke_cli.cli.commands.schema:schema",
    "demo": "dycoke_cli.cli.commands.demo:demo",
    "doctor": "dycoke_cli.cli.commands.doctor:doctor",
}
"""Function or Typer app of each command. Its module may have `BRIEF`: flags of the short help."""


class _Commands(dict[str, Any]):
    """Commands by name, imported on access: a call needs one, and all take a second."""

    def __getitem__(self, name: str) -> Any:
        if super().__getitem__(name) is None:
            self[name] = _load(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Command by name, or the default."""
        return self[name] if name in _HOMES else default

    def items(self) -> Any:
        """All commands with their names."""
        return [(name, self[name]) for name in self]


class _Root(pages.Group):
    """Root command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands(dict.fromkeys(_HOMES))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve the subcommand; `dycoke VIDEO …` is `dycoke ask VIDEO …`."""
        # `eval` takes a positional argument, so Typer can't give it a subcommand.
        if args[:2] == ["eval", "report"]:
            args = ["eval report", *args[2:]]
        command = command_of(args[0])
        return super().resolve_command(ctx, args if command == args[0] else [command, *args])


def _load(name: str) -> Any:
    module, _, attribute = _HOMES[name].partition(":")
    home = import_module(module)
    command_app = getattr(home, attribute)
    if not isinstance(command_app, typer.Typer):
        function, command_app = command_app, pages.App(add_completion=False)
        command_app.command(name, brief=getattr(home, "BRIEF", ""))(function)
    command = typer.main.get_command(command_app)
    command.name = name  # an app with one command would be named after its function
    return command


app = pages.App(_Root)

# JSON document of each command's --json.
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
    """Command of a command line's first word.

    A word that looks like a video, a folder or a question means `ask`. Any other unknown word is
    returned as it is, so that Typer reports it as a misspelt command.
    """
    if word in _HOMES:
        return word
    parts = os.path.dirname(word), os.path.splitext(word)[1]
    is_input = word == STDIN or " " in word or any(parts) or os.path.exists(word)
    return "ask" if is_input else word


def prepare() -> None:
    """Import all commands if there are plug-ins.

    A plug-in's parameter whose name is taken in any command gets no flag. That is known, and the
    warning complete, only after all commands are imported.
    """
    if plugins.offered():
        for home in _HOMES.values():
            import_module(home.partition(":")[0])


def meant(arguments: list[str]) -> list[str]:
    """Normalize arguments: the word `help` becomes `--help`, and files like `-x.mp4` `./-x.mp4`."""
    arguments = [
        os.path.join(os.curdir, word)
        if word.startswith("-") and has_suffix(word) and os.path.isfile(word)
        else word
        for word in arguments
    ]
    asks_for_help = arguments[:1] == ["help"] or (
        arguments[1:] == ["help"] and arguments[0] in _HOMES
    )
    # A file or folder named "help" is asked about.
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
    """JSON Schema id of a command line's --json document."""
    from dycoke_cli.cli.commands import schema  # imported late: it imports every document

    words = (word for word in arguments if word == STDIN or not word.startswith("-"))
    return schema.DOCUMENTS[_DOCUMENTS.get(command_of(next(words, "")), "error")].schema
