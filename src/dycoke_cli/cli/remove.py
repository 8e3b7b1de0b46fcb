"""`dycoke models rm`: remove a downloaded model."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dycoke_cli.cli import options, render
from dycoke_cli.cli.render.units import size
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.resolve import find


def remove(
    name: options.ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Remove a downloaded model, in all its revisions, from this machine."""
    source = find(name)
    if source.local:
        what = "is part of the package" if source.entry else "is a folder of yours"
        raise ModelError(f"{name} {what}; only downloaded models are removed")
    from dycoke_cli.models.hub import removal

    planned = removal(source.location)
    freed = size(planned.freed_bytes)
    if not yes and not _agreed(source.location, freed):
        render.note("nothing was removed")
        return
    planned.execute()
    render.note(f"{source.location} is removed; that freed {freed}")


def _agreed(repo: str, freed: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"removing {repo} frees {freed}; nobody can be asked here, so say --yes")
    return render.confirm(f"Remove {repo} and free {freed}?")
