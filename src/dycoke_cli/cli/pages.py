"""Help pages: what Typer knows of a command, gathered for `render.help_page` to lay out.

A page is the command's docstring and its parameters. The section `Examples:` of the docstring has
command lines, one per line; a flag that belongs to no panel is one that most people need.
"""

from __future__ import annotations

import inspect
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from dycoke_cli.cli.render.page import Page, Panel, Row, help_page

EXAMPLES = "Examples:\n"
_COMMON = "Options"


class Command(TyperCommand):
    """A command whose help is a page of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page."""
        help_page(page_of(self, ctx))


class Group(TyperGroup):
    """A command with subcommands, which its page lists."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page."""
        commands = [
            Row(name, _paragraphs(command)[0])
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        help_page(page_of(self, ctx), Panel("Commands", tuple(commands)))


class App(typer.Typer):
    """Commands with such pages, which `-h` shows, too.

    Args:
        kind: of the group that they make up.
    """

    def __init__(self, kind: type[Group] = Group) -> None:
        super().__init__(
            cls=kind,
            context_settings={"help_option_names": ["-h", "--help"]},
            pretty_exceptions_enable=False,
        )

    def command(self, name: str | None = None, **settings: Any) -> Any:
        """Add a command; see `typer.Typer.command`."""
        return super().command(name, cls=Command, **settings)


def page_of(command: TyperCommand | TyperGroup, context: Any) -> Page:
    """The page of a command, without its subcommands."""
    paragraphs = _paragraphs(command)
    examples = [text for text in paragraphs if text.startswith(EXAMPLES)]
    parameters = command.get_params(context)
    arguments = [one for one in parameters if isinstance(one, TyperArgument)]
    panels: dict[str, list[Row]] = {_COMMON: []}
    for option in parameters:
        if isinstance(option, TyperOption) and not option.hidden:
            panels.setdefault(option.rich_help_panel or _COMMON, []).append(_option(option))
    return Page(
        usage=" ".join(
            [
                context.command_path,
                *command.collect_usage_pieces(context)[:1],
                *(_usage(argument) for argument in arguments),
                *(["COMMAND …"] if isinstance(command, TyperGroup) else []),
            ]
        ),
        summary=paragraphs[0],
        examples=tuple(line for text in examples for line in text.splitlines()[1:]),
        details=tuple(text for text in paragraphs[1:] if text not in examples),
        panels=(
            Panel("Arguments", tuple(Row(_named(one), one.help or "") for one in arguments)),
            *(Panel(title, tuple(rows)) for title, rows in panels.items()),
        ),
    )


def _paragraphs(command: Any) -> list[str]:
    """Those of the docstring, each a line, the examples as they are."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return [
        "\n".join(line.strip() for line in text.splitlines())
        if text.startswith(EXAMPLES)
        else text.replace("\n", " ")
        for text in paragraphs
    ]


def _named(argument: TyperArgument) -> str:
    return argument.metavar or argument.name or ""


def _usage(argument: TyperArgument) -> str:
    return _named(argument) if argument.required else f"[{_named(argument)}]"


def _option(option: TyperOption) -> Row:
    on = ", ".join(sorted(option.opts, key=len))
    names = " / ".join([on, *option.secondary_opts])
    if option.metavar and not option.is_flag:
        names += f" {option.metavar}"
    sentences = [option.help or ""]
    if option.show_default and option.default:
        sentences.append(f"Default: {option.default}.")
    return Row(names, " ".join(sentences))
