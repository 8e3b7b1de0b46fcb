"""`dycoke models`: the models that have a short name, and which one answers by default."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from dycoke_cli.cli import options, output, pages, render
from dycoke_cli.cli.estimate import cost_of_frames, show_cost
from dycoke_cli.cli.render.units import size
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.json_schema import to_dict
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import ModelRef, find
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling

app = pages.App()


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: options.Json = False) -> None:
    """List, download and select models.

    Examples:
        dycoke models
        dycoke models pull llava-onevision-0.5b
        dycoke models default llava-onevision-0.5b

    Without a subcommand, lists all models that have a short name.
    """
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
            metavar="NAME|DIR|HUB_ID",
            help="The new default model; without it, print the current one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Set the model that is used where --model isn't given.

    Examples:
        dycoke models default llava-onevision-0.5b
        dycoke models default
    """
    if name is None:
        output.line(settings.default_model() or settings.BUNDLED)
        return
    source = find(name)
    # A folder is meant as it is seen from here, wherever the next command runs.
    chosen = os.path.abspath(name) if source.local and source.entry is None else name
    path = settings.choose_default_model(chosen)
    render.note(f"Default model set to {chosen}{_still_missing(source)} (remembered in {path})")


def _still_missing(source: ModelRef) -> str:
    """That a model isn't on this machine, and what to do; empty of one that is."""
    from dycoke_cli.cli.model_documents import one_model

    (model,) = one_model(source).models
    if model.on_disk is not None and model.on_disk.complete:
        return ""
    needed = "" if model.download_bytes is None else f" ({size(model.download_bytes)})"
    return f"; not downloaded yet{needed}: dycoke models pull {source.name}"


@app.command("info")
def info(
    name: options.ModelArgument,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="What an answer about N frames of 1280 × 720 would cost in tokens, memory and "
            "FLOPs, in place of what is known of the model.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show everything that is known of a model; nothing is downloaded.

    Examples:
        dycoke models info qwen2.5-vl-3b
        dycoke models info qwen2.5-vl-3b --frames 64
        dycoke models info ./my-checkpoint --json
    """
    from dycoke_cli.cli.model_documents import one_model

    if frames is not None:
        request = Request(name, LoadOptions(), Sampling(), DyCoke(), GenerationOptions())
        show_cost(cost_of_frames(request, frames, height=720, width=1280), as_json)
        return
    document = one_model(find(name))
    if as_json:
        output.write_json(to_dict(document))
    else:
        render.model_table(document)


@app.command("pull")
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
    """Download a model ahead of time; print the commit.

    Examples:
        dycoke models pull llava-onevision-0.5b
        dycoke models pull my-org/my-model --revision v2

    Only files that loading reads are downloaded; an interrupted pull resumes.
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


@app.command("rm")
def remove(
    name: options.ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
) -> None:
    """Remove a downloaded model, in all its revisions, from this machine.

    Examples:
        dycoke models rm llava-onevision-0.5b
        dycoke models rm llava-onevision-0.5b --yes
    """
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
