"""Flags as lines of a table, what shells complete, and flags that several commands share."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer

_PANEL = re.compile(r"\[(.+)\]")
_NAME = re.compile(r"(?<!\S)--?[a-z][a-z-]*")


def flag_table(
    text: str, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Typer's options and arguments by name, such as `--out` or `VIDEO`.

        VIDEO: A word without a dash is an argument.
        --question -q TEXT: A flag with a short name.
        [Output]
        --out FILE: A flag in the panel of that title,
            with help that goes on in an indented line.

    Args:
        settings: others of Typer by name, such as the least value of a number.
    """
    table: dict[str, Any] = {}
    panel = None
    for line in re.sub(r"\n +", " ", inspect.cleandoc(text)).splitlines():
        if title := _PANEL.fullmatch(line):
            panel = title[1]
            continue
        words, _, sentences = line.partition(": ")
        names, metavar = _NAME.findall(words), _NAME.sub("", words).strip() or None
        name = names[0] if names else words
        more = (settings or {}).get(name, {})
        if names:
            table[name] = typer.Option(
                *names, metavar=metavar, help=sentences, rich_help_panel=panel, **more
            )
        else:
            table[name] = typer.Argument(metavar=metavar, help=sentences, **more)
    return table


Names = list[tuple[str, str]]
"""What a shell completes an incomplete word to, with descriptions; if none matches, files.

Each function imports what it lists: every command has such a function, and a shell calls one.
"""


def complete_models(incomplete: str) -> Names:
    """Models of the catalog."""
    from dycoke_cli.models.catalog import CATALOG

    return [(name, entry.note or "") for name, entry in CATALOG.items()]


def complete_methods(incomplete: str) -> Names:
    """Compression methods."""
    from dycoke_cli.compression.registry import METHODS

    return [(name, method.summary) for name, method in METHODS.items()]


def complete_kept(incomplete: str) -> Names:
    """What is kept in the cache folder."""
    from dycoke_cli.storage.cache_folder import KEPT

    return [*KEPT.items()]


def complete_rows(incomplete: str) -> Names:
    """Last entry of a comma-separated list of methods."""
    from dycoke_cli.compression.registry import ABLATIONS

    before, comma, _ = incomplete.rpartition(",")
    named = [
        *complete_methods(incomplete),
        *((name, row.summary) for name, row in ABLATIONS.items()),
    ]
    return [(f"{before}{comma}{name}", summary) for name, summary in named]


_MODEL_HELP = "A name from `dycoke models`, a folder, or a Hugging Face id."
_FLAGS = flag_table(
    f"""
    NAME|DIR|HUB_ID: {_MODEL_HELP}
    VIDEO: A video file, a folder of pictures, or - to read it from stdin.
    VIDEO…: A video file, or - to read it from stdin; or a folder of pictures, or several pictures,
        which are its frames. Several videos are shown together, where the model allows it.
    QUESTION: What to ask.
    --question -q TEXT: A question; repeat it to ask several (the video is encoded once). With -
        questions come from stdin, one per line.
    --model NAME|DIR|HUB_ID: {_MODEL_HELP} Default: DYCOKE_MODEL in the environment, or
        mini (bundled).
    --json: Print one JSON object per result on stdout, errors included.
    --quiet: Print only what ends the run.
    [Generation]
    --follow-up: Questions follow up on each other: each sees the earlier ones and their answers.
    --compare: Also answer without compression, and show both side by side. A short run that isn't
        measured comes first, so that the times compare.
    [Frame sampling]
    --subtitles FILE|auto|speech: Put subtitles into the prompt: the lines that are shown at a
        sampled frame. A file (.srt, .vtt, .ass), or auto: the file beside the video that has its
        name, else the video's own stream; or speech: what is said (speech:de: in German).
    --speech-model NAME|DIR|HUB_ID: Model that hears --subtitles speech: Whisper in the format of
        CTranslate2. A name such as whisper-small is one of the hub.
    [Model]
    --cache: Cache encoded videos on disk, and reuse them (see `dycoke cache`).
        Excludes --server.
    --workers N: Worker processes, each with its own copy of the model. Default: 1 (batch), or by
        free memory and CPUs (eval). Excludes --engine ray, --server.
    [Output]
    --stats: Show all figures of an answer: tokens, time per stage, FLOPs and memory.
    --estimate: Load no weights: print an answer's tokens, memory, FLOPs and time on this machine,
        from the model's configuration and the video; of many, the sum. Excludes --compare,
        --dry-run, --engine ray, --server, --subtitles.
    """,
    {name: {"autocompletion": complete_models} for name in ("--model", "NAME|DIR|HUB_ID")},
)
VideoArgument = Annotated[str, _FLAGS["VIDEO"]]
VideosArgument = Annotated[str, _FLAGS["VIDEO…"]]
QuestionArgument = Annotated[list[str] | None, _FLAGS["QUESTION"]]
Questions = Annotated[list[str] | None, _FLAGS["--question"]]
FollowUp = Annotated[bool, _FLAGS["--follow-up"]]
Subtitles = Annotated[str | None, _FLAGS["--subtitles"]]
SpeechModel = Annotated[str, _FLAGS["--speech-model"]]

Model = Annotated[str | None, _FLAGS["--model"]]
ModelArgument = Annotated[str, _FLAGS["NAME|DIR|HUB_ID"]]
Cache = Annotated[bool, _FLAGS["--cache"]]
Workers = Annotated[int | None, _FLAGS["--workers"]]
Compare = Annotated[bool, _FLAGS["--compare"]]
Stats = Annotated[bool, _FLAGS["--stats"]]
Json = Annotated[bool, _FLAGS["--json"]]
Estimate = Annotated[bool, _FLAGS["--estimate"]]
Quiet = Annotated[bool, _FLAGS["--quiet"]]


def given(context: typer.Context) -> set[str]:
    """Names of the parameters set by the user, even if to the default value."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}
