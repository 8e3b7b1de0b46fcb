"""`dycoke eval --list`: list of benchmarks and presets."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from dycoke_cli.cli.render.figures import named
from dycoke_cli.cli.render.units import count, size
from dycoke_cli.evaluation.datasets import DATASETS, class_of, plugin_of, tasks_of
from dycoke_cli.evaluation.presets import presets


def benchmarks() -> Table:
    """Table of benchmarks and presets, with names in the first column."""
    rows = {name: [*_lines(name)] for name in DATASETS}
    for one in presets().values():
        how = f"--model {one.model} --frames {one.frames} --methods {one.methods}"
        rows[one.name] = [f"Preset of {one.paper}: {how}"]
    return named((name, "\n".join([*lines, ""])) for name, lines in rows.items())


def _lines(name: str) -> Iterator[str]:
    about = class_of(name).about
    large = "" if about.bytes is None else f", about {size(about.bytes)}"
    yield about.title
    yield (
        f"{count(about.questions)} questions about {count(about.videos)} videos{large}; "
        f"{' and '.join(about.splits)} split; metric: {about.metric}"
    )
    if about.needs:
        yield f"Needs --data with {about.needs}."
    if tasks := tasks_of(name):
        yield f"Tasks by themselves: {', '.join(f'{name}_{task}' for task in tasks)}."
    if reported := [preset.name for preset in presets().values() if name in preset.tasks]:
        yield f"Presets of published rows: {', '.join(reported)}."
    if (plugin := plugin_of(name)) is not None:
        yield f"Plug-in: {plugin}"
    yield f"Source: {about.source}"
