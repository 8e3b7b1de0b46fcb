"""Options shared by commands that aren't fields of a library dataclass."""

from __future__ import annotations

from typing import Annotated

import typer

from dycoke_cli.cli import completion

_MODEL = "Model"
_GENERATION = "Generation"
_OUTPUT = "Output"

VideoArgument = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO",
        help="A video file, a folder of pictures, or - to read it from stdin.",
        show_default=False,
    ),
]
VideosArgument = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO…",
        help="A video file, or - to read it from stdin; or a folder of pictures, or several "
        "pictures, which are its frames. Several videos are shown together, where the model "
        "allows it.",
        show_default=False,
    ),
]
QuestionArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="QUESTION", help="What to ask.", show_default=False),
]
Questions = Annotated[
    list[str] | None,
    typer.Option(
        "--question",
        "-q",
        metavar="TEXT",
        help="A question; repeat it to ask several (the video is encoded once). With - questions "
        "come from stdin, one per line.",
        show_default=False,
    ),
]

FollowUp = Annotated[
    bool,
    typer.Option(
        "--follow-up",
        help="Questions follow up on each other: each sees the earlier ones and their answers.",
        rich_help_panel=_GENERATION,
    ),
]

Subtitles = Annotated[
    str | None,
    typer.Option(
        "--subtitles",
        metavar="FILE|auto",
        help="Put subtitles into the prompt: the lines that are shown at a sampled frame. A file "
        "(.srt, .vtt, .ass), or auto: the file beside the video that has its name, else the "
        "video's own stream.",
        show_default=False,
        rich_help_panel="Frame sampling",
    ),
]

_MODEL_HELP = "A name from `dycoke models`, a folder, or a Hugging Face id."
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|DIR|HUB_ID",
        help=f"{_MODEL_HELP} Default: mini (bundled), until `dycoke models default` sets another.",
        autocompletion=completion.models,
        show_default=False,
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|DIR|HUB_ID",
        help=_MODEL_HELP,
        autocompletion=completion.models,
        show_default=False,
    ),
]

Cache = Annotated[
    bool,
    typer.Option(
        "--cache",
        help="Cache encoded videos on disk, and reuse them (see `dycoke cache`).",
        rich_help_panel=_MODEL,
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Worker processes, each with its own copy of the model. Default: 1 (batch), or by "
        "free memory and CPUs (eval).",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Also answer without compression, and show both side by side. A short run that isn't "
        "measured comes first, so that the times compare.",
        rich_help_panel=_GENERATION,
    ),
]

Stats = Annotated[
    bool,
    typer.Option(
        "--stats",
        help="Show all figures of an answer: tokens, time per stage, FLOPs and memory.",
        rich_help_panel=_OUTPUT,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object per result on stdout, errors included.",
    ),
]
Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Load no weights: print an answer's tokens, memory and FLOPs, and about how many "
        "seconds it takes on this machine, from the model's configuration and the video.",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        help="Print only what ends the run. All else is in --json.",
    ),
]


def given(context: typer.Context) -> set[str]:
    """Names of the parameters set by the user, even if to the default value."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}
