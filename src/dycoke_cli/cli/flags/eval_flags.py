"""Flags of `dycoke eval`: the benchmark, and what is reported of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dycoke_cli.cli.completion import Names

_BENCHMARK = "Benchmark"
_OUTPUT = "Output"


def complete_presets(incomplete: str) -> Names:
    """Presets of published results; see `cli.completion`."""
    from dycoke_cli.evaluation.presets import presets

    return [(name, preset.paper) for name, preset in presets().items()]


def complete_benchmarks(incomplete: str) -> Names:
    """Benchmarks, likewise."""
    from dycoke_cli.evaluation.datasets import DATASETS

    return [(name, "") for name in DATASETS]


ListBenchmarks = Annotated[
    bool,
    typer.Option(
        "--list",
        help="List the benchmarks (how large each is, what it needs, where it is published), and "
        "the presets.",
        rich_help_panel=_BENCHMARK,
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="The settings of a published row: model, methods with their parameters, frames, "
        "prompts, length of answers. Other flags override them. The report has the published "
        "figures beside the measured ones, and names all conditions that differ. --list names the "
        "presets.",
        autocompletion=complete_presets,
        show_default=False,
        rich_help_panel=_BENCHMARK,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder with the benchmark's annotations and videos, at any depth; of all but shapes "
        "and shapes-long, which are bundled. Of your own questions the folder with the videos; "
        "default: theirs.",
        show_default=False,
        rich_help_panel=_BENCHMARK,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Only check the files: all annotations, and the first and last frame of every video. "
        "No model is loaded.",
        rich_help_panel=_BENCHMARK,
    ),
]
SplitName = Annotated[
    Literal["validation", "test"] | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="validation, to choose parameters; or test, to report results. Default: test, or the "
        "only one.",
        show_default=False,
        rich_help_panel=_BENCHMARK,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Only the first N videos (they are in random order).",
        show_default=False,
        rich_help_panel=_BENCHMARK,
    ),
]
Rule = Literal["dycoke", "lmms-eval"]
_RULE = (
    "How answers are scored: dycoke, which reads letters as a person does; or lmms-eval, to "
    "compare figures with that harness, of the benchmarks that it scores without a judge."
)
RuleName = Annotated[
    Rule, typer.Option("--rule", metavar="NAME", help=_RULE, rich_help_panel=_BENCHMARK)
]
NewRule = Annotated[
    Rule | None,
    typer.Option(
        "--rule",
        metavar="NAME",
        help=f"{_RULE} Nothing is asked again. Default: the rule of the runs.",
        show_default=False,
        rich_help_panel=_BENCHMARK,
    ),
]
By = Annotated[
    Literal["letters", "probability"],
    typer.Option(
        "--by",
        metavar="NAME",
        help="How multiple choice is answered: letters, by generated answers; or probability, "
        "which asks for the options' probabilities as well and shows both, and their calibration.",
        rich_help_panel=_BENCHMARK,
    ),
]
ShardName = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only shard I of N of the videos; `dycoke eval report` merges the shards' folders.",
        show_default=False,
        rich_help_panel=_BENCHMARK,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the answers, from which the next run resumes. Default: a folder in your "
        "cache.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
ShowChanged = Annotated[
    bool,
    typer.Option(
        "--show-changed",
        help="List every prediction that a method changed, beside the baseline's.",
        rich_help_panel=_OUTPUT,
    ),
]
