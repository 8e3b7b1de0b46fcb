"""The options that commands share and that are no field of a dataclass, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dycoke_cli.evaluation.datasets import DATASETS

_BENCHMARK = "Benchmark: what is asked"
_MODEL = "Model"
_ANSWER = "Answer"
_OUTPUT = "Output"

VideoArgument = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO", help="A video file, or - to read it from stdin.", show_default=False
    ),
]
QuestionArgument = Annotated[
    str | None,
    typer.Argument(metavar="QUESTION", help="What to ask.", show_default=False),
]
Questions = Annotated[
    list[str] | None,
    typer.Option(
        "--question",
        "-q",
        help="A question; repeat it to ask several (the video is encoded once). "
        "- reads questions from stdin, a line each.",
        show_default=False,
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|DIR|HUB_ID",
        help="A name from `dycoke models`, a folder with a checkpoint, or a hub id. Default: what "
        "`dycoke models default` says, mini at first.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|DIR|HUB_ID",
        help="A name from `dycoke models`, a folder with a checkpoint, or a hub id.",
        show_default=False,
    ),
]

Cache = Annotated[
    bool,
    typer.Option(
        "--cache",
        help="Keep encoded videos on disk, and look for them there (`dycoke cache`).",
        rich_help_panel=_MODEL,
    ),
]

Benchmark = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help=f"The benchmark: {', '.join(DATASETS)}.", show_default=False
    ),
]
SplitName = Annotated[
    Literal["validation", "test"],
    typer.Option(
        "--split",
        metavar="NAME",
        help="validation for every choice that is made; test for what is reported, once for each "
        "edition.",
        rich_help_panel=_BENCHMARK,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="The first N videos only (they stand in random order).",
        show_default=False,
        rich_help_panel=_BENCHMARK,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Processes that share the videos, each with the model. Default: what suits both.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where all answers are kept, and found again by the next run. Default: a folder in "
        "your cache.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
ShowChanged = Annotated[
    bool,
    typer.Option(
        "--show-changed",
        help="List each answer that compression changed, with what was said without it.",
        rich_help_panel=_OUTPUT,
    ),
]

Compare = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Ask the uncompressed model too, and put the two side by side.",
        rich_help_panel=_ANSWER,
    ),
]

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object on stdout for each result, errors included.",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        help="Nothing on stderr but errors (warnings are in --json).",
        rich_help_panel=_OUTPUT,
    ),
]
