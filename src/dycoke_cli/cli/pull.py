"""`dycoke models pull`: download a model, so that it is there when it is asked."""

from __future__ import annotations

from typing import Annotated

import typer

from dycoke_cli.cli import options, output, render
from dycoke_cli.models.resolve import find


def pull(
    name: options.ModelArgument,
    revision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Branch, tag or commit. Default: the main branch.",
            show_default=False,
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Download a model; print the commit that came.

    Only what loading reads is downloaded. Files that are finished are kept when it breaks off.
    """
    source = find(name)
    if source.local:
        render.note(f"{name} is a folder on this machine already; there is nothing to pull")
        return
    from dycoke_cli.models import hub

    planned = hub.plan(source, revision)
    hub.check_space(planned)
    if planned.missing:
        with render.Download(name, len(planned.missing), planned.missing_bytes, quiet) as download:
            hub.pull(planned, download.update)
    else:
        hub.pull(planned, lambda come: None)
    if not quiet:
        render.note(f"{name} is on this machine, {len(planned.files)} files in {planned.folder}")
    output.line(planned.commit)
