"""Flags of `dycoke eval`: the benchmark, and what is reported of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from dycoke_cli.cli.completion import Names
from dycoke_cli.cli.flags.flag_table import flag_table

_BENCHMARK = "Benchmark"


def complete_presets(incomplete: str) -> Names:
    """Presets of published results; see `cli.completion`."""
    from dycoke_cli.evaluation.presets import presets

    return [(name, preset.paper) for name, preset in presets().items()]


def complete_benchmarks(incomplete: str) -> Names:
    """Benchmarks, likewise."""
    from dycoke_cli.evaluation.datasets import DATASETS

    return [(name, "") for name in DATASETS]


_RULE = (
    "How answers are scored: dycoke, which reads letters as a person does; or lmms-eval, to "
    "compare figures with that harness, of the benchmarks that it scores without a judge."
)
_FLAGS = flag_table(
    f"""
    [Benchmark]
    --list: List the benchmarks (how large each is, what it needs, where it is published), and the
        presets.
    --preset NAME: The settings of a published row: model, methods with their parameters, frames,
        prompts, length of answers. Other flags override them. The report has the published figures
        beside the measured ones, and names all conditions that differ. --list names the presets.
    --data DIR: Folder with the benchmark's annotations and videos, at any depth; of all but shapes
        and shapes-long, which are bundled. Of your own questions the folder with the videos;
        default: theirs.
    --check: Only check the files: all annotations, and the first and last frame of every video. No
        model is loaded.
    --split NAME: validation, to choose parameters; or test, to report results. Default: test, or
        the only one.
    --limit N: Only the first N videos (they are in random order).
    --rule NAME: {_RULE}
    --by NAME: How multiple choice is answered: letters, by generated answers; or probability, which
        asks for the options' probabilities as well and shows both, and their calibration.
    --shard I/N: Only shard I of N of the videos; `dycoke eval report` merges the shards' folders.
    [Output]
    --out FOLDER: Folder of the answers, from which the next run resumes. Default: a folder in your
        cache.
    --show-changed: List every prediction that a method changed, beside the baseline's.
    """,
    {"--preset": {"autocompletion": complete_presets}},
)
ListBenchmarks = Annotated[bool, _FLAGS["--list"]]
PresetName = Annotated[str | None, _FLAGS["--preset"]]
Data = Annotated[Path | None, _FLAGS["--data"]]
Check = Annotated[bool, _FLAGS["--check"]]
SplitName = Annotated[Literal["validation", "test"] | None, _FLAGS["--split"]]
Limit = Annotated[int | None, _FLAGS["--limit"]]
Rule = Literal["dycoke", "lmms-eval"]
RuleName = Annotated[Rule, _FLAGS["--rule"]]
_OF_RUNS = flag_table(f"""
    [Benchmark]
    --rule NAME: {_RULE} Nothing is asked again. Default: the rule of the runs.
""")
NewRule = Annotated[Rule | None, _OF_RUNS["--rule"]]
By = Annotated[Literal["letters", "probability"], _FLAGS["--by"]]
ShardName = Annotated[str | None, _FLAGS["--shard"]]
Out = Annotated[Path | None, _FLAGS["--out"]]
ShowChanged = Annotated[bool, _FLAGS["--show-changed"]]
