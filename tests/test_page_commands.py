"""Every command in a page's blocks is understood by the program that it names, in its own words.

Those that run in seconds are run as well, by the tests of their page. Programs of others are in
OTHERS: a page that names a new one says here how it was tried.
"""

from __future__ import annotations

import argparse
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer
from typer.core import TyperCommand

from dycoke_cli.cli.app import app
from dycoke_cli.plugins import FLAG
from tests.cli.harness import understood
from tests.pages import PAGES, ROOT, commands

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
SHELL = {"cut", "export", "printf", "unzip"}
OTHERS = {
    "curl": "run against a server by tests/server/test_page.py",
    "docker": "needs a daemon; the Dockerfile is linted",
    "duckdb": "not of the package index; run by hand",
    "jq": "not of the package index; run by hand",
    "llm": "run by tests/server/test_page.py",
    "lmms-eval": "parsed by the plug-in's own tests",
    "ray": "a cluster of two nodes in tests/cli/test_readme.py",
    "vllm": "run by `make test-vllm`",
}
NAMED = re.compile(r"`dycoke ([^`]*--[^`]*)`")


class Parsed(Exception):
    """The program has understood its command line, and would begin now."""


def on_pages(program: str) -> list[Any]:
    """The commands of a program, each as a parameter that is named by its page and place."""
    return [
        pytest.param(words[1:], id=f"{page.relative_to(ROOT)}-{place}")
        for page in PAGES
        for place, words in enumerate(commands(page.read_text("utf-8")))
        if words[0] == program
    ]


def below(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """A command and its subcommands, by name."""
    yield name, command
    for word in getattr(command, "commands", ()):
        found = command.resolve_command(typer.Context(command), [word])[1]
        yield from below(found, f"{name} {word}".strip())


def test_every_program_is_known() -> None:
    named = {words[0] for page in PAGES for words in commands(page.read_text("utf-8"))}
    assert named == {"dycoke", "make", "pip", "python", *SHELL, *OTHERS}


@pytest.mark.parametrize("words", on_pages("dycoke"))
def test_ours(words: list[str]) -> None:
    if FLAG in words:  # its flags are a plug-in's: tests/test_plugins_page.py runs those
        return
    assert understood(words).command_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_in_sentences_exist(page: Path) -> None:
    ours = dict(below(typer.main.get_command(app)))
    for line in NAMED.findall(page.read_text("utf-8")):
        if "stride" in line:  # the method that CONTRIBUTING.md and docs/reference.md add
            continue
        words = line.split()
        names = (" ".join(words[:count]) for count in (2, 1, 0))
        command = next(ours[name] for name in names if name in ours)
        known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
        assert {*re.findall(r"(?<!\S)--[a-z-]+", line)} <= {*known, "--help"}, line


@pytest.mark.parametrize("words", on_pages("make"))
def test_a_target(words: list[str]) -> None:
    targets = [word for word in words if "=" not in word]
    rules = re.findall(r"^([\w -]+):", MAKEFILE, re.MULTILINE)
    assert {*targets} <= {*" ".join(rules).split()}
    for variable in set(words) - set(targets):
        assert f"$({variable.partition('=')[0]})" in MAKEFILE


@pytest.mark.parametrize("words", on_pages("pip"))
def test_an_extra(words: list[str]) -> None:
    for named in re.findall(r"(?:^|\s)(?:\.|dycoke-cli)\[([\w,]+)\]", " ".join(words)):
        assert set(named.split(",")) <= {*EXTRAS}
    for path in (word for word in words if word.startswith("./plugins")):
        assert (ROOT / path / "pyproject.toml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", on_pages("python"))
def test_a_module_of_ours(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] != "-m":  # a line of Python, or a file that the page shows
        return
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", words[1:])
    parse = argparse.ArgumentParser.parse_args

    def parsed(parser: argparse.ArgumentParser, given: Sequence[str] | None = None) -> None:
        parse(parser, given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(TyperCommand, "invoke", mock.Mock(side_effect=Parsed))
    with pytest.raises(Parsed):
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
