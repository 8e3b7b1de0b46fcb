"""`dycoke cache`: the disk cache of encoded videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dycoke_cli.answer.json_schema import Count, Doc, to_dict
from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.flags import options
from dycoke_cli.cli.render import units
from dycoke_cli.storage.cache_folder import encoded_videos

SCHEMA = "dycoke.cache/1"


@dataclass(frozen=True, kw_only=True)
class CacheState:
    """The encoded videos that are kept."""

    schema: str = SCHEMA
    folder: str
    videos: Annotated[Count, Doc("How many.")]
    bytes: Annotated[Count, Doc("That they take.")]
    limit_bytes: Annotated[Count, Doc("That they may take.")]


app = pages.App()


@app.callback(invoke_without_command=True)
def cache(context: typer.Context, as_json: options.Json = False) -> None:
    """Show the disk cache of encoded videos (--cache): folder, number, size and limit.

    Examples:
        dycoke cache
        dycoke cache clear
    """
    if context.invoked_subcommand is not None:
        return
    files = encoded_videos()
    count, nbytes = len(files.listed()), files.nbytes
    if as_json:
        state = CacheState(
            folder=str(files.folder), videos=count, bytes=nbytes, limit_bytes=files.limit
        )
        output.write_json(to_dict(state))
        return
    size, limit = units.size(nbytes), units.size(files.limit)
    output.line(f"{_videos(count)}, {size} of {limit}, in {files.folder}")


@app.command("clear")
def clear() -> None:
    """Delete all cached encoded videos.

    Examples:
        dycoke cache clear
    """
    render.note(f"{_videos(encoded_videos().clear())} deleted")


def _videos(count: int) -> str:
    return "1 encoded video" if count == 1 else f"{count:,} encoded videos"
