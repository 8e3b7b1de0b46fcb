"""`dycoke cache`: the disk caches of encoded videos and of int8 weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dycoke_cli.answer.json_schema import Count, Doc, to_dict
from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.flags import options
from dycoke_cli.cli.render import units
from dycoke_cli.storage.cache_folder import UNFINISHED, encoded_videos, packed_weights

SCHEMA = "dycoke.cache/1"


@dataclass(frozen=True, kw_only=True)
class CacheState:
    """The encoded videos, whole or in part, and the int8 weights that are kept."""

    schema: str = SCHEMA
    folder: str
    videos: Annotated[Count, Doc("How many.")]
    unfinished: Annotated[Count, Doc("How many of them an interrupted run has read in part.")]
    bytes: Annotated[Count, Doc("That they take.")]
    limit_bytes: Annotated[Count, Doc("That they may take.")]
    int8_folder: str
    int8_models: Annotated[Count, Doc("How many have int8 weights there.")]
    int8_bytes: Annotated[Count, Doc("That these weights take.")]


app = pages.App()


@app.callback(invoke_without_command=True)
def cache(context: typer.Context, as_json: options.Json = False) -> None:
    """Show the disk caches: encoded videos (--cache), and int8 weights (--quantize int8).

    Examples:
        dycoke cache
        dycoke cache clear
    """
    if context.invoked_subcommand is not None:
        return
    files, weights = encoded_videos(), packed_weights()
    models = len(weights.models)
    kept, nbytes = files.listed(), files.nbytes
    unfinished = sum(path.name.startswith(UNFINISHED) for path in kept)
    if as_json:
        state = CacheState(
            folder=str(files.folder),
            videos=len(kept),
            unfinished=unfinished,
            bytes=nbytes,
            limit_bytes=files.limit,
            int8_folder=str(weights.folder),
            int8_models=models,
            int8_bytes=weights.nbytes,
        )
        output.write_json(to_dict(state))
        return
    size, limit = units.size(nbytes), units.size(files.limit)
    partly = f" ({unfinished:,} of them in part)" if unfinished else ""
    output.line(f"{_videos(len(kept))}{partly}, {size} of {limit}, in {files.folder}")
    output.line(
        f"int8 weights of {_models(models)}, {units.size(weights.nbytes)}, in {weights.folder}"
    )


@app.command("clear")
def clear() -> None:
    """Delete all cached encoded videos and int8 weights.

    Examples:
        dycoke cache clear
    """
    videos, models = encoded_videos().clear(), packed_weights().clear()
    render.note(f"{_videos(videos)} and the int8 weights of {_models(models)} deleted")


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count:,} models"


def _videos(count: int) -> str:
    return "1 encoded video" if count == 1 else f"{count:,} encoded videos"
