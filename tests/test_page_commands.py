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
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
import typer
from typer.core import TyperCommand

from dycoke_cli.cli.app import app
from tests.cli.harness import below, run_here, understood
from tests.pages import PAGES, ROOT, commands

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
RULES = {*" ".join(re.findall(r"^([\w -]+):", MAKEFILE, re.MULTILINE)).split()}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
SHELL = {"export", "printf"}
OTHERS = {
    "curl": "run against a server by tests/server/test_page.py",
    "docker": "needs a daemon; the Dockerfile is linted",
    "ffmpeg": "run by tests/cli/commands/test_times_out.py, where there is one",
    "jq": "not of the package index; run by hand",
    "llm": "run by tests/server/test_page.py",
    "lmms-eval": "parsed by the plug-in's own tests",
    "ray": "a cluster of two nodes in tests/cli/test_readme.py",
    "vllm": "run by `python plugins/vllm/tests/environment.py runs/vllm`",
}
NAMED = re.compile(r"`dycoke ([^`]*--[^`]*)`")
MODULE = re.compile(r"python -m ((?:benchmarks|training|tests)\b[\w.]*)")
TARGET = re.compile(r"`make ([a-z0-9-]+)")


class Parsed(Exception):
    """The program has understood its command line, and would begin now."""


def on_pages(program: str) -> list[Any]:
    """By page, the commands of a program."""
    by_page = {page: [*commands(page.read_text("utf-8"))] for page in PAGES}
    return [
        pytest.param(found, id=str(page.relative_to(ROOT)))
        for page, lines in by_page.items()
        if (found := [words[1:] for words in lines if words[0] == program])
    ]


def test_every_program_is_known() -> None:
    named = {words[0] for page in PAGES for words in commands(page.read_text("utf-8"))}
    assert named == {"dycoke", "make", "pip", "python", *SHELL, *OTHERS}


@pytest.mark.parametrize("lines", on_pages("dycoke"))
def test_ours(lines: list[list[str]]) -> None:
    for words in lines:
        assert understood(words).command_path, words


def test_flags_in_sentences_exist() -> None:
    ours = dict(below(typer.main.get_command(app)))
    for line in (line for page in PAGES for line in NAMED.findall(page.read_text("utf-8"))):
        if "stride" in line:  # the method that CONTRIBUTING.md and docs/reference.md add
            continue
        words = line.split()
        names = (" ".join(words[:count]) for count in (2, 1, 0))
        command = next(ours[name] for name in names if name in ours)
        known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
        assert {*re.findall(r"(?<!\S)--[a-z-]+", line)} <= {*known, "--help"}, line


@pytest.mark.parametrize("lines", on_pages("make"))
def test_a_target(lines: list[list[str]]) -> None:
    for word in (word for words in lines for word in words):
        name, is_variable, _ = word.partition("=")
        assert f"$({name})" in MAKEFILE if is_variable else name in RULES, word


def test_named_targets_exist() -> None:
    found = {name for page in PAGES for name in TARGET.findall(page.read_text("utf-8"))}
    assert found <= RULES


def test_named_modules_exist() -> None:
    for name in {name for page in PAGES for name in MODULE.findall(page.read_text("utf-8"))}:
        path = ROOT / name.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


@pytest.mark.parametrize("lines", on_pages("pip"))
def test_an_extra(lines: list[list[str]]) -> None:
    for words in lines:
        for named in re.findall(r"(?:^|\s)(?:\.|dycoke-cli)\[([\w,]+)\]", " ".join(words)):
            assert set(named.split(",")) <= {*EXTRAS}, words
        for path in (word for word in words if word.startswith("./plugins")):
            assert (ROOT / path / "pyproject.toml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lines", on_pages("python"))
def test_a_module_of_ours(lines: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    parse = argparse.ArgumentParser.parse_args

    def parsed(parser: argparse.ArgumentParser, given: Sequence[str] | None = None) -> None:
        parse(parser, given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(TyperCommand, "invoke", mock.Mock(side_effect=Parsed))
    for words in lines:
        if words[0] == "-m":  # else a line of Python, or a file that the page shows
            monkeypatch.setattr(sys, "argv", words[1:])
            with pytest.raises(Parsed):
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)


def test_the_page_for_agents_is_printed_and_short() -> None:
    run = run_here("mcp", "--skill")
    page = (ROOT / "src" / "dycoke_cli" / "share" / "SKILL.md").read_text("utf-8")
    assert (run.code, run.out) == (0, page)
    assert len(page.splitlines()) <= 60
    assert page.startswith("---\nname: dycoke\ndescription: ")
