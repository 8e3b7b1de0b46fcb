"""What strings of the package name can be followed: commands, flags and the Python API exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import dycoke_cli
from dycoke_cli.cli.app import app
from tests.test_page_commands import below

SRC = Path(dycoke_cli.__file__).parent
FOREIGN = {
    "--always": "git", "--error-unmatch": "git", "--exclude": "git", "--porcelain": "git",
    "--head": "ray", "--log_samples": "lmms-eval", "--trust-request-mm-kwargs": "vLLM",
    "--upgrade": "pip",
}  # fmt: skip
"""Flags of other programs."""
NO_FLAGS = {"--x", "--no-x", "--merge-dropped"}
"""Flags that docstrings make up."""
NO_COMMANDS = {"drops", "keeps", "or", "out"}
"""Words behind the name of the method or of the program."""
A_HOLE = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for what is filled in."""


def strings() -> Iterator[tuple[str, str]]:
    """The place and the text of every string of the package, docstrings included."""
    for path in sorted(SRC.rglob("*.py")):
        tree, filled = ast.parse(path.read_text("utf-8")), set[int]()
        for node in ast.walk(tree):  # outer nodes first
            text = None
            if isinstance(node, ast.JoinedStr):
                filled |= {id(part) for part in node.values}
                parts = (getattr(part, "value", None) for part in node.values)
                text = "".join(part if isinstance(part, str) else A_HOLE for part in parts)
            elif isinstance(node, ast.Constant) and id(node) not in filled:
                text = node.value if isinstance(node.value, str) else None
            if text is not None:
                yield f"{path.relative_to(SRC)}:{node.lineno}", text


def flags_by_command() -> dict[str, set[str]]:
    """The flags of each command and of its subcommands; "" is the program."""
    ours, found = dict(below(typer.main.get_command(app))), dict[str, set[str]]()
    for name in ours:
        every = [one for other, one in ours.items() if f"{other} ".startswith(name)]
        params = [param for one in every for param in one.params]
        found[name] = {"--help", *(f for p in params for f in (*p.opts, *p.secondary_opts))}
    return found


def unknown(text: str, flags: dict[str, set[str]]) -> Iterator[str]:
    """What a text names that isn't there."""
    for flag in re.findall(rf"(?<![\w-])--[a-z][\w-]*(?![\w{A_HOLE}-])", text):
        if flag not in {*flags[""], *FOREIGN, *NO_FLAGS, "--no-"}:
            yield flag
    for line in re.findall(
        r"(?<!--method )(?<![\w/.-])dycoke ([a-z][a-z-]*\b(?!\.)[^`;,)\n]*)", text
    ):
        words = line.split()
        names = [name for name in (" ".join(words[:2]), words[0]) if name in flags]
        given = {*re.findall(r"(?<!\S)--[a-z-]+", line)}
        if words[0] not in NO_COMMANDS and not (names and given <= flags[names[0]]):
            yield f"dycoke {line}"
    public = dir(dycoke_cli)
    for owner, name, call in re.findall(r"\b([A-Z]\w*[a-z]\w*)\.([a-z_]\w*)(\()?", text):
        there = getattr(dycoke_cli, owner) if owner in public else None
        if there is None and not call:
            continue  # a class of a library, or the end of a sentence
        if not hasattr(there, name) and name not in getattr(there, "__annotations__", ()):
            yield f"{owner}.{name}"


@pytest.mark.slow
def test_what_strings_name_exists() -> None:
    flags = flags_by_command()
    assert {"ask", "models pull"} <= flags.keys()
    assert [(place, what) for place, text in strings() for what in unknown(text, flags)] == []
