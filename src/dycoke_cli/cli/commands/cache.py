"""`dycoke cache`: all that is kept in the cache folder, above all encoded videos."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from dycoke_cli.answer.json_schema import Count, Doc, to_dict
from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.cli.render import units
from dycoke_cli.cli.render.units import counted
from dycoke_cli.errors import UsageError, did_you_mean
from dycoke_cli.storage import cache_folder
from dycoke_cli.storage.cache_folder import KEPT, encoded_videos

SCHEMA = "dycoke.cache/1"
_WITHOUT_NAME = "visual"  # which are large, and made again by the next command


@dataclass(frozen=True)
class KeptFiles:
    """Files that are kept under one name."""

    name: Annotated[str, Doc("In the cache folder; `dycoke cache clear NAME` deletes them.")]
    what: Annotated[str, Doc("In words.")]
    path: str
    files: Annotated[Count, Doc("How many.")]
    bytes: Annotated[Count, Doc("That they take.")]
    changed: Annotated[str | None, Doc("When the newest was written, UTC; null of no files.")]


@dataclass(frozen=True, kw_only=True)
class CacheState:
    """What is kept: encoded videos, and the rest."""

    schema: str = SCHEMA
    folder: str
    videos: Annotated[Count, Doc("How many.")]
    bytes: Annotated[Count, Doc("That they take.")]
    limit_bytes: Annotated[Count, Doc("That they may take.")]
    kept: Annotated[tuple[KeptFiles, ...], Doc("All that is kept, these included.")]


app = pages.App()


@app.callback(invoke_without_command=True)
def cache(context: typer.Context, as_json: shared_flags.Json = False) -> None:
    """Show what is kept on disk: encoded videos (--cache), measurements, answers.

    Examples:
        dycoke cache
        dycoke cache clear
        dycoke cache clear estimates fingerprints
    """
    if context.invoked_subcommand is not None:
        return
    files, kept = encoded_videos(), _kept(_WITHOUT_NAME)
    if as_json:
        state = CacheState(
            folder=str(files.folder),
            videos=kept.files,
            bytes=kept.bytes,
            limit_bytes=files.limit,
            kept=tuple(map(_kept, KEPT)),
        )
        output.write_json(to_dict(state))
        return
    size, limit = units.size(kept.bytes), units.size(files.limit)
    output.line(f"{counted(kept.files, 'encoded video')}, {size} of {limit}, in {files.folder}")
    others = [found for name in KEPT if name != _WITHOUT_NAME and (found := _kept(name)).files]
    for one in others:
        count = counted(one.files, "file")
        output.line(
            f"{one.name}: {one.what}, {count}, {units.size(one.bytes)}, of {str(one.changed)[:10]}"
        )


def _kept(name: str) -> KeptFiles:
    files = cache_folder.files_of(name)
    newest = max((file.st_mtime for file in files), default=None)
    return KeptFiles(
        name,
        KEPT[name],
        str(cache_folder.kept(name)),
        len(files),
        sum(file.st_size for file in files),
        None if newest is None else datetime.fromtimestamp(newest, UTC).isoformat("T", "seconds"),
    )


_FLAGS = shared_flags.flag_table(
    """
    NAME…: What is deleted, as `dycoke cache` names it. Default: visual.
    --all: Delete all that is kept, answers of eval included.
    """,
    {"NAME…": {"autocompletion": shared_flags.complete_kept}},
)


@app.command("clear")
def clear(
    names: Annotated[list[str] | None, _FLAGS["NAME…"]] = None,
    everything: Annotated[bool, _FLAGS["--all"]] = False,
) -> None:
    """Delete cached encoded videos, or what is named.

    Examples:
        dycoke cache clear
        dycoke cache clear estimates fingerprints
        dycoke cache clear --all
    """
    if everything and names:
        raise UsageError(f"--all deletes {names[0]}, too: leave one of them out")
    for name in names or ():
        if name not in KEPT:
            hint = did_you_mean(name, KEPT, f"it is one of {', '.join(KEPT)}, or --all")
            raise UsageError(f"nothing is kept under the name {name!r}; {hint}")
    what = "file" if names or everything else "encoded video"
    deleted = sum(map(cache_folder.clear, KEPT if everything else names or [_WITHOUT_NAME]))
    left = [name for name in KEPT if cache_folder.files_of(name)]
    stays = f"; {', '.join(left)} kept: `dycoke cache clear --all`" if left else ""
    render.note(f"{counted(deleted, what)} deleted{stays}")
