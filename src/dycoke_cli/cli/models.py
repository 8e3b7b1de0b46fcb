"""`dycoke models`: the models that have a short name, and which one answers by default."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from dycoke_cli.cli import model_info, options, output, pull, remove, render
from dycoke_cli.json_schema import to_dict
from dycoke_cli.models import settings
from dycoke_cli.models.resolve import find

app = typer.Typer(help="The models there are, which are on this machine, and which one answers.")
app.command("info")(model_info.info)
app.command("pull")(pull.pull)
app.command("rm")(remove.remove)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: options.Json = False) -> None:
    """List the models that have a short name; the default is marked."""
    if context.invoked_subcommand is not None:
        return
    from dycoke_cli.cli.model_documents import all_models

    document = all_models()
    if as_json:
        output.write_json(to_dict(document))
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
        output.line(settings.default_model() or settings.BUNDLED)
        return
    source = find(name)
    # A folder is meant as it is seen from here, wherever the next command runs.
    chosen = os.path.abspath(name) if source.local and source.entry is None else name
    path = settings.choose_default_model(chosen)
    render.note(f"{chosen} answers from now on (remembered in {path})")
