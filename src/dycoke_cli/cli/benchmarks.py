"""`dycoke eval --list` and `--check`: the benchmarks, and whether their files are right."""

from __future__ import annotations

from pathlib import Path

import typer

from dycoke_cli.cli import output, render
from dycoke_cli.cli.benchmark_documents import BenchmarkList, described, listed_preset
from dycoke_cli.errors import VideoError
from dycoke_cli.evaluation.dataset import Split
from dycoke_cli.evaluation.datasets import DATASETS, open_dataset
from dycoke_cli.evaluation.presets import presets
from dycoke_cli.json_schema import to_dict


def list_benchmarks(as_json: bool) -> None:
    """Write all benchmarks and presets to stdout."""
    found = BenchmarkList(
        benchmarks=tuple(map(described, DATASETS)),
        presets=tuple(map(listed_preset, presets().values())),
    )
    if as_json:
        output.write_json(to_dict(found))
        return
    render.benchmarks_table(found)


def check_benchmark(
    name: str,
    data: Path | None,
    split: Split | None,
    limit: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write what is wrong with a benchmark's files to stdout.

    Args:
        name: of the benchmark.
        data: its folder.
        split: None is its first.
        limit: only the first so many videos.
        as_json: as an object.
        quiet: without progress.

    Raises:
        UsageError: there is no such benchmark, or its annotations are wrong.
        Exit: a video is missing, or can't be read to its end.
    """
    dataset = open_dataset(name, data)
    progress = render.Progress(quiet)
    progress.update("start", 0, 0)
    from dycoke_cli.evaluation.check import check

    try:
        found = check(
            dataset,
            split or dataset.about.splits[0],
            limit,
            lambda done, total: progress.update("check", done, total),
        )
    finally:
        progress.stop()
    if as_json:
        output.write_json(to_dict(found))
    else:
        for sentence in found.warnings:
            render.warning(sentence)
        output.line(
            f"{found.benchmark}, {found.split} split: {found.questions:,} questions about "
            f"{_videos(found.videos)}; {_faults(len({fault.video for fault in found.faults}))}"
        )
        for fault in found.faults:
            output.line(f"{fault.problem}: {fault.message}")
    if found.faults:
        raise typer.Exit(VideoError.exit_code)


def _faults(videos: int) -> str:
    if not videos:
        return "all there, first and last frames decoded"
    return "1 isn't right:" if videos == 1 else f"{videos:,} aren't right:"


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count:,} videos"
