"""`dycoke schema`: the JSON Schema of what other commands write."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Any, Literal

import typer

from dycoke_cli.cli import output


def schema(
    name: Annotated[
        Literal["answer"],
        typer.Argument(
            metavar="NAME",
            help="answer: of `dycoke ask --json`, and each line of `dycoke batch`.",
            show_default=False,
        ),
    ],
) -> None:
    """Print the JSON Schema of an output."""
    output.write(_text(name))


def read_schema(name: str) -> Any:
    """A schema as an object."""
    return json.loads(_text(name))


def _text(name: str) -> str:
    return (files("dycoke_cli") / "schemas" / f"{name}.json").read_text(encoding="utf-8")
