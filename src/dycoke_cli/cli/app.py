"""Root command of `dycoke`: lazily imported subcommands, and global flags."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from dycoke_cli import plugins
from dycoke_cli.cli import output, pages
from dycoke_cli.cli.flags.options import flag_table
from dycoke_cli.cli.flags.words import has_suffix
from dycoke_cli.version import __version__
from dycoke_cli.video.files import STDIN

_GROUPS = {
    "Ask": {
        "ask": (
            "dycoke_cli.cli.commands.ask:ask",
            "Answer questions about a video, or about several together.",
        ),
        "chat": (
            "dycoke_cli.cli.commands.chat:chat",
            "Talk about a video: the model stays loaded, and each question sees the earlier ones.",
        ),
        "batch": ("dycoke_cli.cli.commands.batch:batch", "Answer questions about many videos."),
        "caption": (
            "dycoke_cli.cli.commands.caption:caption",
            "Write a caption for each clip and picture of a folder.",
        ),
        "watch": (
            "dycoke_cli.cli.commands.watch:watch",
            "Answer questions about a video while it comes, window by window.",
        ),
        "probe": (
            "dycoke_cli.cli.commands.probe:probe",
            "Show which frames of a video are sampled, their visual tokens, and what audio it has.",
        ),
        "convert": (
            "dycoke_cli.cli.commands.convert:convert",
            "Convert answers to a table, or times to subtitles, markers or chapters.",
        ),
    },
    "Compare": {
        "inspect": (
            "dycoke_cli.cli.commands.inspect:inspect",
            "Show which visual tokens a method keeps, and what each word of the answer attends to.",
        ),
        "methods": (
            "dycoke_cli.cli.commands.methods:methods",
            "List compression methods, or show the parameters of one.",
        ),
        "eval": ("dycoke_cli.cli.commands.eval:evaluate", "Compare methods on a benchmark."),
        "eval report": (
            "dycoke_cli.cli.commands.eval:report",
            "Print the tables of finished runs again, without a model.",
        ),
        "bench": (
            "dycoke_cli.cli.commands.bench:bench",
            "Time methods on your own videos, and compare their answers.",
        ),
        "verify": (
            "dycoke_cli.cli.commands.verify:verify",
            "Verify compression on a model's real weights, and write a report.",
        ),
    },
    "Serve": {
        "serve": (
            "dycoke_cli.cli.commands.serve:serve",
            "Answer OpenAI-compatible requests about videos, with compression chosen per request.",
        ),
        "mcp": (
            "dycoke_cli.cli.commands.mcp:mcp",
            "Let agents ask about videos: tools of the Model Context Protocol, on stdin and "
            "stdout.",
        ),
    },
    "Set up": {
        "demo": (
            "dycoke_cli.cli.commands.demo:demo",
            "Answer two questions about a bundled clip with the bundled model.",
        ),
        "models": ("dycoke_cli.cli.commands.models:app", "List, download and select models."),
        "doctor": (
            "dycoke_cli.cli.commands.doctor:doctor",
            "Show whether this machine is ready: versions, devices, processor and extras.",
        ),
        "cache": (
            "dycoke_cli.cli.commands.cache:app",
            "Show what is kept on disk: encoded videos (--cache), int8 weights, measurements, "
            "answers.",
        ),
        "schema": ("dycoke_cli.cli.commands.schema:schema", "Print the JSON Schema of an output."),
    },
}
"""Function or Typer app of each command, and the first sentence of its help, by title of the list.

The list of commands prints the sentences, and imports no command. The module of a command may have
`BRIEF`: flags of the short help.
"""
_COMMANDS = {name: command for group in _GROUPS.values() for name, command in group.items()}


class _Root(pages.Group):
    """Root command. Its `commands` have a name and a sentence; resolving one imports it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name: TyperCommand(name, help=sentence, rich_help_panel=title)
            for title, group in _GROUPS.items()
            for name, (_, sentence) in group.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the subcommand; `dycoke VIDEO …` is `dycoke ask VIDEO …`."""
        # It takes a positional argument, so Typer can't give it a subcommand.
        if args[:2] == ["eval", "report"]:
            args = [" ".join(args[:2]), *args[2:]]
        word = command_of(args[0])
        if word not in _COMMANDS:
            from dycoke_cli.cli.unknown_words import unknown_command  # no usual command needs it

            raise unknown_command(word, _COMMANDS)
        args = args if word == args[0] else [word, *args]
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _load(word), rest


def _load(name: str) -> Any:
    module, _, attribute = _COMMANDS[name][0].partition(":")
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
_OF_ITS_OWN = (
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
_DOCUMENTS = {"ask": "answer", "watch": "answer"} | {name: name for name in _OF_ITS_OWN}


def command_of(word: str) -> str:
    """Command of a command line's first word.

    A word that looks like a video, a folder or a question means `ask`. Any other unknown word is
    returned as it is, so that Typer reports it as a misspelt command.
    """
    if word in _COMMANDS:
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
        for home, _ in _COMMANDS.values():
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
        arguments[1:] == ["help"] and arguments[0] in _COMMANDS
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


_FLAGS = flag_table(
    """
    --version: Print the version and exit.
    """,
    {"--version": {"callback": _print_version, "is_eager": True}},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[bool, _FLAGS["--version"]] = False,
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
