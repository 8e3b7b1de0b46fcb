"""Tables of flags: a line of text for each, with its names, its placeholder and its help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import typer

_PANEL = re.compile(r"\[(.+)\]")
_NAME = re.compile(r"(?<!\S)--?[a-z][a-z-]*")


def flag_table(
    text: str, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Typer's options and arguments by name, such as `--out` or `VIDEO`.

        VIDEO: A word without a dash is an argument.
        --question -q TEXT: A flag with a short name.
        [Output]
        --out FILE: A flag in the panel of that title,
            with help that goes on in an indented line.

    Args:
        settings: others of Typer by name, such as the least value of a number.
    """
    table: dict[str, Any] = {}
    panel = None
    for line in re.sub(r"\n +", " ", inspect.cleandoc(text)).splitlines():
        if title := _PANEL.fullmatch(line):
            panel = title[1]
            continue
        words, _, sentences = line.partition(": ")
        names, metavar = _NAME.findall(words), _NAME.sub("", words).strip() or None
        name = names[0] if names else words
        more = (settings or {}).get(name, {})
        if names:
            table[name] = typer.Option(
                *names, metavar=metavar, help=sentences, rich_help_panel=panel, **more
            )
        else:
            table[name] = typer.Argument(metavar=metavar, help=sentences, **more)
    return table
