"""The options that `dycoke batch` alone has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_RUN = "Run"
_OUTPUT = "Output"

Videos = Annotated[
    str | None,
    typer.Argument(
        metavar="VIDEOS",
        help="A folder, a pattern in quotes ('clips/**/*.mp4'), or a text file with a path a line "
        "(- is stdin).",
        show_default=False,
    ),
]
QuestionsFile = Annotated[
    str | None,
    typer.Option(
        "--questions",
        metavar="FILE",
        help="JSON Lines or CSV with video, question and, if need be, id; - is stdin. Videos are "
        "relative to VIDEOS, or to the file's folder.",
        show_default=False,
    ),
]
FailFast = Annotated[
    bool,
    typer.Option("--fail-fast", help="End at the first failure.", rich_help_panel=_RUN),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Ask again what failed in an earlier run; a new line replaces the old one.",
        rich_help_panel=_RUN,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Where the lines go, a JSON object each; what is there isn't asked again. Default: "
        "stdout.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
Fields = Annotated[
    str | None,
    typer.Option(
        metavar="KEY,…",
        help="On stdout, these keys alone, such as id,answer,tokens.visual.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
Csv = Annotated[
    bool,
    typer.Option(
        "--csv",
        help="On stdout, CSV in place of JSON; --fields are columns.",
        rich_help_panel=_OUTPUT,
    ),
]
