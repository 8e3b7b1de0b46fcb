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
from tests.cli.harness import below

SRC = Path(dycoke_cli.__file__).parent
# Of git, ray, lmms-eval, vLLM and pip, and those that docstrings make up.
NOT_OURS = {
    "--always", "--error-unmatch", "--exclude", "--porcelain", "--head", "--log_samples",
    "--upgrade", "--video", "--input", "--trust-request-mm-kwargs", "--no-", "--x", "--no-x",
    "--merge-dropped", "--copy_files", "--output_dir",
}  # fmt: skip
PROSE = {"drops", "keeps", "or", "out"}  # behind the name of the method or of the program
HOLE = "\N{OBJECT REPLACEMENT CHARACTER}"  # what is filled in


def strings() -> Iterator[tuple[str, str]]:
    """The place and the text of every string of the package, docstrings included."""
    for path in sorted(SRC.rglob("*.py")):
        filled, file = set[int](), path.relative_to(SRC)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):  # outer nodes first
            if isinstance(node, ast.JoinedStr):
                filled |= {id(part) for part in node.values}
                parts = (getattr(part, "value", None) for part in node.values)
                text = "".join(part if isinstance(part, str) else HOLE for part in parts)
                yield f"{file}:{node.lineno}", text
            elif isinstance(text := getattr(node, "value", None), str) and id(node) not in filled:
                yield f"{file}:{getattr(node, 'lineno', 0)}", text


def unknown(text: str, flags: dict[str, set[str]]) -> Iterator[str]:
    """What a text names that isn't there."""
    named = {*re.findall(rf"(?<![\w-])--[a-z][\w-]*(?![\w{HOLE}-])", text)}
    yield from named - flags[""] - NOT_OURS
    command = r"(?<!--method )(?<![\w/.-])dycoke ([a-z][a-z-]*\b(?!\.)[^`;,)\n]*)"
    for line in re.findall(command, text):
        words = line.split()
        names = [name for name in (" ".join(words[:2]), words[0]) if name in flags]
        given = {*re.findall(r"(?<!\S)--[a-z-]+", line)}
        if words[0] not in PROSE and not (names and given <= flags[names[0]]):
            yield f"dycoke {line}"
    for owner, name, call in re.findall(r"\b([A-Z]\w*[a-z]\w*)\.([a-z_]\w*)(\()?", text):
        there = getattr(dycoke_cli, owner) if owner in dir(dycoke_cli) else None
        if there is None and not call:
            continue  # a class of a library, or the end of a sentence
        if not hasattr(there, name) and name not in getattr(there, "__annotations__", ()):
            yield f"{owner}.{name}"


@pytest.mark.slow
def test_what_strings_name_exists() -> None:
    ours, flags = dict(below(typer.main.get_command(app))), dict[str, set[str]]()
    for name in ours:  # with those of its subcommands
        every = [one for other, one in ours.items() if other.startswith(name)]
        params = [param for one in every for param in one.params]
        flags[name] = {"--help", *(f for p in params for f in (*p.opts, *p.secondary_opts))}
    assert {"ask", "models pull"} <= flags.keys()
    assert [(place, what) for place, text in strings() for what in unknown(text, flags)] == []
