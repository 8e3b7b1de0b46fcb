"""`dycoke eval --list`: list of benchmarks and presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rich.table import Table

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.cli import output
from dycoke_cli.cli.render.figures import named
from dycoke_cli.cli.render.units import count, size
from dycoke_cli.evaluation.dataset import Split
from dycoke_cli.evaluation.datasets import DATASETS, class_of, plugin_of, tasks_of
from dycoke_cli.evaluation.presets import presets
from dycoke_cli.version import __version__

SCHEMA = "dycoke.eval-list/1"


def list_benchmarks(as_json: bool) -> None:
    """Print all benchmarks and presets."""
    listed = BenchmarkList(
        benchmarks=tuple(map(_benchmark, DATASETS)),
        presets=tuple(
            ListedPreset(one.name, one.paper, one.model, one.frames, one.methods)
            for one in presets().values()
        ),
    )
    output.show(listed, as_json, table)


@dataclass(frozen=True)
class BenchmarkEntry:
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
    plugin: Annotated[
        str | None, Doc("Package or file that it comes from, and a hash; null of bundled ones.")
    ]


@dataclass(frozen=True)
class ListedPreset:
    """The settings of published rows: an entry of `presets`."""

    name: Annotated[str, Doc("As --preset takes it.")]
    paper: Annotated[str, Doc("Where the rows were published.")]
    model: str
    frames: Annotated[int, Doc(minimum=1)]
    methods: Annotated[str, Doc("As --methods takes them.")]


@dataclass(frozen=True, kw_only=True)
class BenchmarkList:
    """What `dycoke eval --list` prints."""

    schema: str = SCHEMA
    version: Version = __version__
    benchmarks: tuple[BenchmarkEntry, ...]
    presets: tuple[ListedPreset, ...]


def _benchmark(name: str) -> BenchmarkEntry:
    about = class_of(name).about
    return BenchmarkEntry(
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
        plugin=plugin_of(name),
    )


def table(listed: BenchmarkList) -> Table:
    """Table of benchmarks and presets, with names in the first column."""
    rows = {each.name: _lines(each) for each in listed.benchmarks}
    for one in listed.presets:
        how = f"--model {one.model} --frames {one.frames} --methods {one.methods}"
        rows[one.name] = [f"Preset of {one.paper}: {how}"]
    return named((name, "\n".join([*lines, ""])) for name, lines in rows.items())


def _lines(each: BenchmarkEntry) -> list[str]:
    large = "" if each.bytes is None else f", about {size(each.bytes)}"
    lines = [
        each.title,
        f"{count(each.questions)} questions about {count(each.videos)} videos{large}; "
        f"{' and '.join(each.splits)} split; metric: {each.metric}",
    ]
    if each.needs:
        lines.append(f"Needs --data with {each.needs}.")
    if each.tasks:
        lines.append(f"Tasks by themselves: {', '.join(each.tasks)}.")
    if each.presets:
        lines.append(f"Presets of published rows: {', '.join(each.presets)}.")
    lines.append(f"Source: {each.source}")
    return lines
