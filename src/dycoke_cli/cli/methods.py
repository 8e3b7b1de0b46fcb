"""`dycoke methods`: the compression methods, one per line, or all that is known of one."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from dycoke_cli.cli import completion, options, output, render
from dycoke_cli.compression.registry import METHODS, find
from dycoke_cli.json_schema import to_dict


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Of a method, to show where it acts, its parameters and its paper.",
            autocompletion=completion.methods,
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List compression methods, or show the parameters of one.

    Examples:
        dycoke methods
        dycoke methods dycoke
        dycoke methods --json
    """
    from dycoke_cli.cli.method_documents import SCHEMA, list_methods

    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{}]))
        listed = [*METHODS.values()] if name is None else [find(name)]
        document = list_methods(listed)
        if as_json:
            output.write_json(to_dict(document))
            return
        if name is None:
            render.methods_table(document)
        else:
            render.method_page(document)
