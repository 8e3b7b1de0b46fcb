"""Help pages: content from Typer's commands, laid out by `render.help_page`.

A page consists of the command's docstring and parameters. The docstring's section `Examples:` has
one command line per line; flags without a panel are the common ones. A command with many flags also
has a short page, with some flags, their first sentence and default. `--help-all` shows all.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from dycoke_cli.cli import output
from dycoke_cli.cli.page_content import HelpRow, Page, Panel
from dycoke_cli.errors import UsageError

EXAMPLES = "Examples:\n"
_COMMON = "Options"
_RULE = re.compile(r"\b(Needs|Excludes) (--[\w-]+(?: \w+)?(?:, --[\w-]+(?: \w+)?)*)\.")
_HELP = {"--help", "--help-all"}
_LONG_DASHES = ("\u2012", "\u2013", "\u2014", "\u2015", "\u2212")
_DASHES = "".join(("-", *_LONG_DASHES))
_UNITS = {"TIME": 1, "SIZE": 3}
"""By placeholder of a value with a unit, letters of the unit, as in 2 s(econds) and 4 GiB."""
_SENTENCES = re.compile(r"(?<=\.) (?=[A-Z])")


class Command(TyperCommand):
    """Command with our help page."""

    def __init__(self, *args: Any, brief: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._brief = brief

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; see `_unconverted`."""
        _unconverted(self, ctx)
        with _in_context(ctx):
            if not ctx.resilient_parsing:
                _check_words(ctx, args)
            rest: list[str] = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            try:
                _check_rules(ctx)
            except UsageError as error:
                if not ctx.params.get("as_json"):
                    raise
                output.refused.append(error)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the short page."""
        _print(page_of(self, ctx, {*self._brief, *_HELP} if self._brief else None))


def _check_words(context: Any, args: Sequence[str]) -> None:
    """Refuse words that Typer would take for something else than what they must mean.

    A word behind a flag would become part of the question, and `-vf`, as FFmpeg writes it, would be
    -v and -f. The last value of a flag wins, but a file that isn't written would be missed.
    """
    flags = (one for one in context.command.get_params(context) if isinstance(one, TyperOption))
    options = {name: one for one in flags for name in (*one.opts, *one.secondary_opts)}
    flag, value, asked = "", "", False
    out: str | None = None
    words = iter(args)
    for word in words:
        if word == "--":
            return
        if word[:1] == "-" and len(word) > 1:
            flag, _, value = word.partition("=")
            if flag[1] != "-" and len(flag) > 2 and flag[:2] not in options and " " not in flag:
                error = typer.TyperException(f"No such option: {flag}")
                vars(error).update(option_name=flag, ctx=context)  # as Typer's own has
                raise error
            if not value and flag in options and not options[flag].is_flag:
                value = next(words, "")
                if flag == "--prompt" and " " not in value:  # of a text, unless the help names it
                    asked = asked or value not in f"{options[flag].help}"
            if flag == "--out":
                if out not in (None, value):
                    raise UsageError(
                        f"--out takes one file, and has {out} and {value}: leave one out"
                    )
                out = value
        elif word[:1] in _LONG_DASHES and (name := word.lstrip(_DASHES))[:1].isalpha():
            raise UsageError(f"{word} begins with the dash of a web page: write --{name}")
        elif asked and flag in options and not os.path.exists(word):
            others = f"write > {word}" if "." in word else "put the whole question in quotes"
            advice, metavar = f"leave {word!r} out, or {others}", options[flag].metavar or ""
            if value and metavar not in ("N", "X"):
                advice = "put in quotes what has spaces"
                if "…" in metavar:  # the next part of a list
                    advice = f"write {value.rstrip(',')},{word}, or {advice}"
                elif metavar == "LOW-HIGH":
                    advice = f"write {value}-{word}"
                elif metavar in _UNITS:
                    advice = f"write {value}{word[: _UNITS[metavar]]}, or {advice}"
            raise UsageError(f"{flag} takes {'one' if value else 'no'} value: {advice}")
        else:
            asked = asked or " " in word or word.endswith("?")


def _check_rules(context: Any) -> None:
    """Check what flags need and exclude: their help says "Needs --out." or "Excludes --json."."""
    given: dict[str, tuple[Any, str]] = {}
    for option in context.command.get_params(context):
        source, value = context.get_parameter_source(option.name), context.params.get(option.name)
        if source is not None and source.name != "DEFAULT" and value not in (None, False):
            given |= dict.fromkeys(option.opts, (option, str(value)))
    for option, _ in given.values():
        flag = max(option.opts, key=len)
        for rule, others in _RULE.findall(getattr(option, "help", None) or ""):
            for other in others.split(", "):
                name, _, value = other.partition(" ")
                is_given = name in given and value in ("", given[name][1])
                if rule == "Needs" and not is_given:
                    raise UsageError(f"{flag} needs {other}: add it, or leave {flag} out")
                if rule == "Excludes" and is_given:
                    raise UsageError(f"{other} and {flag} exclude each other; use one of them")


@contextmanager
def _in_context(context: typer.Context) -> Iterator[None]:
    """Name the command in errors of the block, such as that of a flag without its value."""
    try:
        yield
    except typer.TyperException as error:
        if getattr(error, "ctx", context) is None:
            error.ctx = context  # type: ignore[attr-defined]
        raise


def _whole_page(context: typer.Context, wanted: bool) -> None:
    if wanted:
        _print(page_of(context.command, context))  # type: ignore[arg-type]
        raise typer.Exit


def _unconverted(command: TyperCommand | TyperGroup, context: typer.Context) -> None:
    """Leave values as they are typed, where a flag's values are words or a shell completes.

    Typer from 0.29 converts all values with Pydantic, even absent ones; importing it takes as long
    as Typer.
    """
    parameter: Any
    for parameter in command.get_params(context):
        if context.resilient_parsing:
            parameter.process_value = lambda ctx, value: value
        elif (build := getattr(parameter, "get_runtime_param", None)) is not None:
            late = _Conversion(parameter.type_descriptor.annotation in (str, list[str]), build)
            parameter.get_runtime_param = partial(lambda late: late, late)


@dataclass(frozen=True)
class _Conversion:
    """Typer's conversion of a flag's values, built where there is something to convert."""

    of_words: bool  # whether the values are words
    build: Callable[[], Any]  # makes Typer's conversion

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """See `typer._coercion.RuntimeParam`."""
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        if self.of_words:
            return [*value] if many else value
        found = self.build().coerce(value, param=param, ctx=ctx)
        # A shell leaves ~ where it is quoted, or behind a = sign.
        return found.expanduser() if isinstance(found, Path) else found


def _print(page: Page) -> None:
    from dycoke_cli.cli.render.help_page import help_page  # imported late: completion needs no Rich

    help_page(page)


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        callback=_whole_page,
        is_eager=True,
        help="Show all flags, with their ranges, and exit.",
    ),
]
"""Flag of a command that has a short page."""


class Group(TyperGroup):
    """Command with subcommands, which its page lists."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; see `_unconverted`."""
        _unconverted(self, ctx)
        with _in_context(ctx):
            return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page: commands in their panels, then the flags."""
        page = page_of(self, ctx)
        _print(replace(page, panels=(*command_panels(self, ctx), *page.panels)))


class App(typer.Typer):
    """Typer app with our help pages and `-h`."""

    def __init__(self, kind: type[Group] = Group, add_completion: bool = True) -> None:
        super().__init__(
            cls=kind,
            add_completion=add_completion,
            context_settings={"help_option_names": ["-h", "--help"]},
            pretty_exceptions_enable=False,
        )

    def command(self, name: str | None = None, *, brief: str = "", **settings: Any) -> Any:
        """Add a command; see `typer.Typer.command`."""
        kind: Any = partial(Command, brief=brief.split())
        return super().command(name, cls=kind, **settings)


def page_of(
    command: TyperCommand | TyperGroup, context: Any, brief: Collection[str] | None = None
) -> Page:
    """Build the page of a command, without its subcommands.

    Args:
        brief: flags of a short page; None for all.
    """
    paragraphs = _paragraphs(command)
    examples = [text for text in paragraphs if text.startswith(EXAMPLES)]
    parameters = command.get_params(context)
    arguments = [one for one in parameters if isinstance(one, TyperArgument)]
    options = [one for one in parameters if isinstance(one, TyperOption) and not one.hidden]
    shown = options if brief is None else [one for one in options if {*one.opts} & {*brief}]
    panels: dict[str, list[HelpRow]] = {_COMMON: []}
    for option in shown:
        row = _option(option)
        row = row if brief is None else HelpRow(row.name, _shortened(row.help))
        panels.setdefault(option.rich_help_panel or _COMMON, []).append(row)
    return Page(
        usage=" ".join(
            [
                context.command_path,
                *command.collect_usage_pieces(context)[:1],
                *(_named(one) if one.required else f"[{_named(one)}]" for one in arguments),
                *(["COMMAND …"] if isinstance(command, TyperGroup) else []),
            ]
        ),
        summary=paragraphs[0],
        examples=tuple(line for text in examples for line in text.splitlines()[1:]),
        details=tuple(text for text in paragraphs[1:] if text not in examples),
        panels=(
            Panel("Arguments", tuple(HelpRow(_named(one), one.help or "") for one in arguments)),
            *(Panel(title, tuple(rows)) for title, rows in panels.items()),
        ),
        more=""
        if brief is None
        else f"{len(options) - len(shown)} more flags: {context.command_path} --help-all",
    )


def command_panels(group: TyperGroup, context: Any) -> list[Panel]:
    """Panels of a group's commands."""
    panels: dict[str, list[HelpRow]] = {}
    for name in group.list_commands(context):
        command: Any = group.get_command(context, name)
        if command is not None and not command.hidden:
            row = HelpRow(name, _paragraphs(command)[0])
            panels.setdefault(command.rich_help_panel or "Commands", []).append(row)
    return [Panel(title, tuple(rows)) for title, rows in panels.items()]


def _shortened(text: str) -> str:
    """First sentence of a help text and the default, without the defaults of other methods."""
    first, *others = _SENTENCES.split(text)
    # "Default: 0.7; fastv: 0.5." lists the default method's value first.
    defaults = [other for other in others if other.startswith("Default: ")]
    return " ".join([first, *(default.partition(";")[0].rstrip(".") + "." for default in defaults)])


def _paragraphs(command: Any) -> list[str]:
    """Paragraphs of the docstring as single lines; examples keep their lines."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return [
        "\n".join(line.strip() for line in text.splitlines())
        if text.startswith(EXAMPLES)
        else text.replace("\n", " ")
        for text in paragraphs
    ]


def _named(argument: TyperArgument) -> str:
    return argument.metavar or argument.name or ""


def _option(option: TyperOption) -> HelpRow:
    # Another spelling of a long flag is named in its text.
    long = next(name for name in option.opts if name.startswith("--"))
    on = ", ".join([*(name for name in option.opts if not name.startswith("--")), long])
    names = " / ".join([on, *option.secondary_opts])
    if option.metavar and not option.is_flag:
        names += f" {option.metavar}"
    sentences = [option.help or ""]
    if option.show_default and option.default:
        sentences.append(f"Default: {option.default}.")
    return HelpRow(names, " ".join(sentences))
