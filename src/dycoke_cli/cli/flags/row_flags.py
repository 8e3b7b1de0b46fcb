"""Flags of the methods that a table compares: `--methods` and `--retain`."""

from __future__ import annotations

from typing import Annotated

import typer

from dycoke_cli.cli import completion
from dycoke_cli.cli.flags.method_flags import PANEL
from dycoke_cli.compression.registry import ABLATIONS, ALL, METHODS

Methods = Annotated[
    str,
    typer.Option(
        metavar="NAME[:PARAMETER=X,…],…",
        autocompletion=completion.rows,
        help="The rows of the table, as in none,dycoke:merge_ratio=0.5,window=8,evs; `dycoke "
        f"methods` lists them. There are {', '.join(METHODS)}, {ALL} (every method), and "
        + ", ".join(f"{name} ({row.summary})" for name, row in ABLATIONS.items())
        + ".",
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--retain",
        metavar="R,…",
        help="Fractions of the visual tokens kept before the language model: a row at each for "
        "each method that takes a budget. Default: its own.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
