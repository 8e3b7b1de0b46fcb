"""`dycoke models`: the models that have a short name, and which one answers by default."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Any

import typer

from dycoke_cli import __version__
from dycoke_cli.cli import options, output, render
from dycoke_cli.models import settings
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.source import find

SCHEMA = "dycoke.models/1"

app = typer.Typer(help="The models there are, and which one answers by default.")


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: options.Json = False) -> None:
    """List the models that have a short name; the default is marked."""
    if context.invoked_subcommand is not None:
        return
    document = _document()
    if as_json:
        output.write_json(document)
    else:
        render.models_table(document)


@app.command("default")
def default(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|DIR|HUB_ID]",
            help="The model that answers from now on; without it, print the one that does.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Choose the model that answers where --model isn't given."""
    if name is None:
        output.line(_default())
        return
    source = find(name)
    # A folder is meant as it is seen from here, wherever the next command runs.
    chosen = os.path.abspath(name) if source.local and source.entry is None else name
    path = settings.choose_default_model(chosen)
    render.note(f"{chosen} answers from now on (remembered in {path})")


def _default() -> str:
    return settings.default_model() or settings.BUNDLED


def _document() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": __version__,
        "default": _default(),
        "models": [dataclasses.asdict(entry) for entry in CATALOG.values()],
    }
