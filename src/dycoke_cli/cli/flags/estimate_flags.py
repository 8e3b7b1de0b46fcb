"""Flags of an estimate."""

from __future__ import annotations

from typing import Annotated

import typer

from dycoke_cli.errors import UsageError, naming
from dycoke_cli.resources import parse_size

Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Load no weights: print an answer's tokens, memory and FLOPs, and about how many "
        "seconds it takes on this machine, from the model's configuration and the video.",
        rich_help_panel="Output",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Estimate for a device with so much memory, such as 8GB or 24GiB; the one that "
        "--device names need not be on this machine. Default: what is free here.",
        show_default=False,
        rich_help_panel="Output",
    ),
]


def memory_of(memory: str | None, estimate: bool = True) -> int | None:
    """Bytes of --memory; None where it isn't given. It must come with --estimate."""
    if memory is not None and not estimate:
        raise UsageError("--memory is for estimates: add --estimate, or leave it out")
    with naming("--memory"):
        return None if memory is None else parse_size(memory)
