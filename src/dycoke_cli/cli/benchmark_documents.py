"""The JSON object of `dycoke eval --list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.evaluation.dataset import Split
from dycoke_cli.evaluation.datasets import class_of, tasks_of
from dycoke_cli.evaluation.presets import Preset, presets
from dycoke_cli.json_schema import Doc
from dycoke_cli.result import Version
from dycoke_cli.version import __version__

SCHEMA = "dycoke.eval-list/1"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: an entry of `benchmarks`."""

    name: Annotated[str, Doc("As `dycoke eval` takes it.")]
    title: str
    splits: Annotated[tuple[Split, ...], Doc("The first is the default of --split.")]
    tasks: Annotated[tuple[str, ...], Doc("Names of its parts, which `dycoke eval` takes as well.")]
    questions: Annotated[int, Doc("Of the first split.", minimum=1)]
    videos: Annotated[int, Doc("Of the first split.", minimum=1)]
    bytes: Annotated[int | None, Doc("About, of its videos; null where that isn't known.")]
    metric: Annotated[str, Doc("What is reported as accuracy.")]
    needs: Annotated[str, Doc("What --data must hold; empty where it is bundled.")]
    source: Annotated[str, Doc("Where it is published.")]
    presets: Annotated[tuple[str, ...], Doc("Names of `presets` that have rows of it.")]


@dataclass(frozen=True)
class ListedPreset:
    """The settings of published rows: an entry of `presets`."""

    name: Annotated[str, Doc("As --preset takes it.")]
    paper: Annotated[str, Doc("Where the rows were published.")]
    model: str
    frames: Annotated[int, Doc(minimum=1)]
    methods: Annotated[str, Doc("As --methods takes them.")]
    rows: Annotated[tuple[str, ...], Doc("What they are called in the table.")]


@dataclass(frozen=True, kw_only=True)
class BenchmarkList:
    """What `dycoke eval --list` prints."""

    schema: str = SCHEMA
    version: Version = __version__
    benchmarks: tuple[Benchmark, ...]
    presets: tuple[ListedPreset, ...]


def described(name: str) -> Benchmark:
    """A benchmark in `DATASETS`."""
    about = class_of(name).about
    return Benchmark(
        name=name,
        title=about.title,
        splits=about.splits,
        tasks=tuple(f"{name}_{task}" for task in tasks_of(name)),
        questions=about.questions,
        videos=about.videos,
        bytes=about.bytes,
        metric=about.metric,
        needs=about.needs,
        source=about.source,
        presets=tuple(preset.name for preset in presets().values() if name in preset.tasks),
    )


def listed_preset(preset: Preset) -> ListedPreset:
    """What the list says of a preset."""
    return ListedPreset(
        name=preset.name,
        paper=preset.paper,
        model=preset.model,
        frames=preset.frames,
        methods=preset.methods,
        rows=tuple(row.row for row in preset.rows),
    )
