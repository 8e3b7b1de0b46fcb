"""The help pages: complete, true to the code, and shown without waiting for torch."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
import shlex
import typing
from functools import cache
from importlib import import_module
from typing import Any

import pytest
import typer
from typer.core import TyperOption

from dycoke_cli.cli.app import app
from dycoke_cli.cli.commands import eval as eval_command
from dycoke_cli.cli.flags import request_flags
from dycoke_cli.compression.method import with_model_defaults
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.fastv import FastV
from dycoke_cli.compression.registry import ABLATIONS, METHODS
from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.models.families import FAMILIES, defaults_of
from dycoke_cli.param import parameters_of
from tests.cli.harness import Outcome, below, run_here, understood
from tests.marks import EXTENDED

COMMANDS = [tuple(name.split()) for name, _ in below(typer.main.get_command(app))]

SHORTENED = ("ask", "batch", "bench", "caption", "chat", "eval", "inspect", "mcp", "serve", "watch")
"""The commands whose whole page is shown by --help-all."""


def whole(*command: str) -> str:
    """The flag that shows the whole page of a command."""
    return "--help-all" if " ".join(command) in SHORTENED else "--help"


@cache
def shown(*words: str) -> Outcome:
    """A help page, laid out once for all tests that read it."""
    return run_here(*words)


def page(*command: str) -> str:
    """A whole help page as running text, without its frames."""
    run = shown(*command, whole(*command))
    assert (run.code, run.err) == (0, "")
    return re.sub(r"[│╭╮╰╯─\s]+", " ", run.out)


def test_all_commands_are_found() -> None:
    assert {("ask",), ("eval",), ("models", "pull"), ("cache", "clear")} <= {*COMMANDS}
    assert len(COMMANDS) >= 16
    whole_pages = [shown(*one, "--help").out for one in COMMANDS if " ".join(one) not in SHORTENED]
    assert not [text for text in whole_pages if "--help-all" in text]


def test_the_list_of_commands_has_the_first_sentence_of_each() -> None:
    root: Any = typer.main.get_command(app)
    for name, listed in root.commands.items():
        command = root.resolve_command(typer.Context(root), [name])[1]
        assert inspect.cleandoc(command.help).split("\n\n")[0] == listed.help


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", [40, 80, pytest.param(160, marks=EXTENDED)])
def test_a_page_fits_its_terminal_and_has_english_words_for_values(
    command: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    long = run_here(*command, "--help")
    if columns == 40:
        assert run_here(*command, "-h") == long
    # Examples can be copied.
    lines = [line for line in long.out.splitlines() if not line.startswith("  ")]
    assert max(map(len, lines)) <= columns
    typers = r"<[\w\[\]| ]+>|\b(INTEGER|BOOLEAN|FLOAT|PATH|str|int|float|bool)\b"
    assert not re.search(typers, long.out)


def options_of(command: tuple[str, ...]) -> list[TyperOption]:
    """The options of a command."""
    found: Any = typer.main.get_command(app)
    rest = [*command]
    while rest:
        _, found, rest = found.resolve_command(typer.Context(found), rest)
    return [one for one in found.params if isinstance(one, TyperOption)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_value_of_an_option_has_a_word(command: tuple[str, ...]) -> None:
    for option in options_of(command):
        if not option.is_flag:
            assert option.metavar, option.opts
            assert re.match(r"[A-Z]|auto", option.metavar), option.opts


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_page_has_examples_that_are_understood(command: tuple[str, ...]) -> None:
    lines = shown(*command, "--help").out.splitlines()
    start = lines.index("Examples:") + 1
    examples = [*itertools.takewhile(bool, lines[start:])]
    assert 1 <= len(examples) <= 3
    for example in examples:
        words = shlex.split(example)
        # Beside a pipe, another program's.
        words = words[words.index("dycoke") + 1 :]
        words = [*itertools.takewhile(lambda word: word != "|", words)]
        context = understood(words)
        # Those of a group are about its subcommands, too.
        assert f"{context.command_path} ".startswith(" ".join(("dycoke", *command, "")))


def panels(*words: str) -> dict[str, str]:
    """The panels of a page, by their titles."""
    found = re.findall(r"^╭─ (.*?) ─*╮$(.*?)^╰", shown(*words).out, re.M | re.S)
    return dict(found)


@pytest.mark.parametrize(
    ("command", "lines"), [("ask", 70), ("watch", 70), ("batch", 78), ("eval", 78), ("caption", 40)]
)
def test_a_short_page_is_short(command: str, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert len(run_here(command, "--help").out.splitlines()) <= lines


@pytest.mark.parametrize("command", SHORTENED)
def test_a_short_page_has_few_flags_that_exist_and_says_where_the_others_are(command: str) -> None:
    brief = {*import_module(f"dycoke_cli.cli.commands.{command}").BRIEF.split()}
    flags = {flag for option in options_of((command,)) for flag in option.opts}
    assert brief <= flags
    short = shown(command, "--help").out.rstrip()
    rows = re.findall(r"^│ (?:-\w, )?(--[\w-]+)", short, re.MULTILINE)
    assert len(rows) <= 20
    listed = {*rows}
    assert listed == brief | {"--help", "--help-all"}
    hidden = len(options_of((command,))) + 1 - len(listed)  # Typer adds --help itself
    assert short.endswith(f"\n{hidden} more flags: dycoke {command} --help-all")
    everything = shown(command, "--help-all")
    assert (everything.code, everything.err) == (0, "")
    assert {*re.findall(r"^│ (?:-\w, )?(--[\w-]+)", everything.out, re.MULTILINE)} > listed


def test_a_short_page_has_what_most_people_need() -> None:
    short = shown("ask", "--help").out
    for name in ("method", "retain", "merge-ratio", "compare", "choices", "yes-no", "when"):
        assert f"│ --{name} " in short
    for name in ("estimate", "frames", "fps", "start", "end", "model", "json", "quiet"):
        assert f"│ --{name} " in short
    # The first sentence and the default of the method where none is named.
    assert "merge-ratio K          Fraction of a compared frame's tokens that TTM" in short
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", short).split())
    assert "that TTM drops. Default: 0.7. --retain R Share of the video's tokens to keep" in text
    assert "lists them. Default: dycoke without cache pruning. --merge-ratio" in text


def test_of_methods_the_parameters_of_dycoke_and_the_budget_are_flags() -> None:
    found = re.findall(
        r"^│\s*(--[a-z-]+)", panels("ask", "--help-all")["Compression"], re.MULTILINE
    )
    flagged = [f"--{name.replace('_', '-')}" for name in (*parameters_of(DyCoke), "retain")]
    assert sorted(found) == sorted(["--method", *flagged])


# As on the paper's models.
PAPERS = with_model_defaults(DyCoke(), defaults_of(FAMILIES["llava_onevision"]))


def help_of(option: object) -> str:
    """The help text of an option that is declared."""
    text: str = typing.get_args(option)[1].help
    return text


OPTIONS = request_flags.method_options()


@pytest.mark.parametrize("field", dataclasses.fields(DyCoke), ids=lambda field: field.name)
def test_defaults_in_the_help_are_those_of_the_method(field: dataclasses.Field[object]) -> None:
    default = getattr(PAPERS, field.name)
    default = ("off", "on")[default] if type(default) is bool else default
    text = help_of(OPTIONS[field.name])
    assert re.search(rf"Default: (the paper's )?{default}\b", text)


@pytest.mark.parametrize("field", dataclasses.fields(FastV), ids=lambda field: field.name)
def test_fastv_defaults_in_the_help(field: dataclasses.Field[object]) -> None:
    told = help_of(OPTIONS[field.name])
    assert re.search(rf"\bfastv(, pyramiddrop)?: {field.default}\.", told)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_choice_of_a_flag_is_told_in_its_help(name: str) -> None:
    kind = typing.get_args(typing.get_args(OPTIONS[name])[0])[0]
    for choice in typing.get_args(kind):
        assert re.search(rf"\b{choice}\b", help_of(OPTIONS[name]))


def test_every_method_row_of_a_table_and_benchmark_is_named() -> None:
    for names, text in (
        (METHODS, help_of(request_flags.MethodName)),
        ((*METHODS, *ABLATIONS), help_of(request_flags.Methods)),
        (DATASETS, eval_command._FLAGS["NAME"].help),
    ):
        assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_the_commands_are_in_four_groups() -> None:
    found = {title: re.findall(r"^│ (\w[\w ]*?)  ", text, re.M) for title, text in panels().items()}
    assert [*found] == ["Ask", "Compare", "Serve", "Set up", "Options"]
    assert found["Ask"][:3] == ["ask", "chat", "batch"]
    assert found["Serve"] == ["serve", "serve status", "mcp"]
    named = [name for title in ("Ask", "Compare", "Serve", "Set up") for name in found[title]]
    root: Any = typer.main.get_command(app)
    assert sorted(named) == sorted(root.commands)
