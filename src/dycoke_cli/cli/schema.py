"""`dycoke schema`: the JSON Schema of what other commands write."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Any, Literal

import typer

from dycoke_cli.cli import output
from dycoke_cli.compression.registry import method_schema


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
    output.write(json.dumps(read_schema(name), indent=2, ensure_ascii=False) + "\n")


def read_schema(name: str) -> Any:
    """A schema as an object; what it says of methods is read off their fields."""
    path = files("dycoke_cli") / "schemas" / f"{name}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["$defs"]["answer"]["properties"]["method"] = method_schema()
    return schema
