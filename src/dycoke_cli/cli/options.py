"""The options that commands share, each declared once; those of methods are in `method_flags`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_BENCHMARK = "Benchmark: what is asked"
_VIDEO = "Video: what is read"
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

Frames = Annotated[
    int | None,
    typer.Option(
        help="How many frames, spread evenly over the video. Default: 32.",
        show_default=False,
        rich_help_panel=_VIDEO,
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        help="Frames a second, in place of --frames.", show_default=False, rich_help_panel=_VIDEO
    ),
]
MaxFrames = Annotated[
    int | None,
    typer.Option(
        help="With --fps: read no more frames than this.",
        show_default=False,
        rich_help_panel=_VIDEO,
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Begin here: seconds or HH:MM:SS.mmm.",
        show_default=False,
        rich_help_panel=_VIDEO,
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="End here: seconds or HH:MM:SS.mmm.",
        show_default=False,
        rich_help_panel=_VIDEO,
    ),
]
Stream = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="The video stream with this number, as `dycoke probe` lists them. Default: the best.",
        show_default=False,
        rich_help_panel=_VIDEO,
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
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:1, mps, …", rich_help_panel=_MODEL),
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(
        metavar="NAME",
        help="Number format of the weights: auto, float32, bfloat16 or float16.",
        rich_help_panel=_MODEL,
    ),
]

DeviceMap = Annotated[
    Literal["auto"] | None,
    typer.Option(
        metavar="auto",
        help="Spread the layers over all GPUs, and what doesn't fit there over main memory (needs "
        "the extra big). Default: one device holds the model.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Quantize = Annotated[
    Literal["int8", "int4"] | None,
    typer.Option(
        metavar="NAME",
        help="Hold weights in 8 or 4 bits: int8 or int4. On a CPU int8 needs no package (measured: "
        "faster than bfloat16 on AMD EPYC and on Intel Xeon without AMX, slower on Intel Xeon with "
        "AMX); all else needs the extra big. Default: as they are.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Kernels = Annotated[
    Literal["fast", "stock"],
    typer.Option(
        metavar="NAME",
        help="Attention and linear layers on a CPU: fast (this program's own; with AMX only the "
        "linear layers, torch's attention is faster there) or stock (torch's).",
        rich_help_panel=_MODEL,
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
RandomWeights = Annotated[
    bool,
    typer.Option(
        "--random-weights",
        help="Build the model that --model names with random weights, without a download: its "
        "speed and memory are real, its answers mean nothing.",
        rich_help_panel=_MODEL,
    ),
]

Benchmark = Annotated[
    str, typer.Argument(metavar="NAME", help="The benchmark: shapes.", show_default=False)
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

MaxNewTokens = Annotated[
    int, typer.Option(help="Cut the answer at this many tokens.", rich_help_panel=_ANSWER)
]
Temperature = Annotated[
    float,
    typer.Option(
        help="0 takes the likeliest token; higher draws more freely.", rich_help_panel=_ANSWER
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Of the draws, to repeat an answer. Default: a new one each time.",
        show_default=False,
        rich_help_panel=_ANSWER,
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
