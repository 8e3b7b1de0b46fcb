"""Flags of an estimate."""

from __future__ import annotations

from typing import Annotated

import typer

Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Load no weights: print an answer's tokens, memory and FLOPs, and about how many "
        "seconds it takes on this machine, from the model's configuration and the video.",
        rich_help_panel="Output",
    ),
]
