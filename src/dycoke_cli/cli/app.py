"""Root command of `dycoke`: lazily imported subcommands, and global flags."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from dycoke_cli import plugins
from dycoke_cli.cli import output, pages
from dycoke_cli.cli.flags.arguments import has_suffix
from dycoke_cli.cli.flags.shared_flags import flag_table
from dycoke_cli.version import __version__
from dycoke_cli.video.files import STDIN

_GROUPS = {
    "Ask": {
        "ask": "Answer questions about a video, or about several together.",
        "chat": (
            "Talk about a video: the model stays loaded, and each question sees the earlier ones."
        ),
        "batch": "Answer questions about many videos.",
        "caption": "Write a caption for each clip and picture of a folder.",
        "watch": "Answer questions about a video while it comes, window by window.",
        "probe": ("Show which frames of a video are sampled, and their visual tokens."),
        "convert": "Convert answers to a table, or times to subtitles or markers.",
    },
    "Compare": {
        "inspect": (
            "Show which visual tokens a method keeps, and what each word of the answer attends to."
        ),
        "methods": "List compression methods, or show the parameters of one.",
        "eval": "Compare methods on a benchmark.",
        "eval report": "Print the tables of a finished run again, without a model.",
        "bench": "Time methods on your own videos, and compare their answers.",
        "verify": "Verify compression on a model's real weights.",
    },
    "Serve": {
        "serve": (
            "Answer OpenAI-compatible requests about videos, with compression chosen per request."
        ),
        "serve status": "Show where your server runs, and whether its model is in memory.",
        "mcp": (
            "Let agents ask about videos: tools of the Model Context Protocol, on stdin and stdout."
        ),
    },
    "Set up": {
        "demo": "Answer two questions about a bundled clip with the bundled model.",
        "models": "List and download models.",
        "doctor": "Show whether this machine is ready: versions, devices and processor.",
        "cache": ("Show what is kept on disk: encoded videos (--cache), measurements, answers."),
        "schema": "Print the JSON Schema of an output.",
    },
}
"""The first sentence of each command's help, by title of the list, which imports no command.

A command is the `app` of its module in `cli.commands`, or the function of its name. The module may
have `BRIEF`: flags of the short help.
"""
_COMMANDS = [name for group in _GROUPS.values() for name in group]


class _Root(pages.Group):
    """Root command. Its `commands` have a name and a sentence; resolving one imports it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name: TyperCommand(name, help=sentence, rich_help_panel=title)
            for title, group in _GROUPS.items()
            for name, sentence in group.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the subcommand; `dycoke VIDEO …` is `dycoke ask VIDEO …`."""
        # These two are functions, so Typer can't give them a subcommand.
        if (both := " ".join(args[:2])) in _COMMANDS:
            args = [both, *args[2:]]
        word = command_of(args[0])
        if word not in _COMMANDS:
            from dycoke_cli.cli.unknown_words import unknown_command  # no usual command needs it

            raise unknown_command(word, _COMMANDS)
        args = args if word == args[0] else [word, *args]
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _load(word), rest


def _module_of(name: str) -> ModuleType:
    return import_module(f"dycoke_cli.cli.commands.{name.split()[0]}")


def _load(name: str) -> Any:
    home = _module_of(name)
    command_app = getattr(home, "app", None)
    if command_app is None:
        command_app = pages.App(add_completion=False)
        function = getattr(home, "evaluate" if name == "eval" else name.split()[-1])
        brief = "" if " " in name else getattr(home, "BRIEF", "")
        command_app.command(name, brief=brief)(function)
    command = typer.main.get_command(command_app)
    command.name = name  # an app with one command would be named after its function
    return command


app = pages.App(_Root)


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
        for name in _COMMANDS:
            _module_of(name)


def meant(arguments: list[str]) -> list[str]:
    """Normalize arguments: the word `help` becomes `--help`, and files like `-x.mp4` `./-x.mp4`."""
    # A shell leaves ~ where it is quoted.
    arguments = [
        os.path.expanduser(word) if word.startswith("~/") and not os.path.exists(word) else word
        for word in arguments
    ]
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
    command = command_of(next(words, ""))
    name = "answer" if command in ("ask", "watch") else command
    return schema.id_of(name if name in schema.DOCUMENTS else "error")
