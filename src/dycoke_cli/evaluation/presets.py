"""The settings of rows that were published, by name, and their figures: `dycoke eval --preset`.

The data are in presets.toml, each figure with its source.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import Dataset
from dycoke_cli.request import Request

_DATA = Path(__file__).with_name("presets.toml")


@dataclass(frozen=True)
class Task:
    """How a benchmark was asked.

    Args:
        max_new_tokens: answers were cut there.
        prompt: attributes of the benchmark that give its prompts the wording of the published code.
        judge: the LLM that graded the answers; empty where none did.
        unparsable: what became of answers that couldn't be understood, where they weren't wrong.
    """

    max_new_tokens: int
    prompt: Mapping[str, bool] = field(default_factory=dict)
    judge: str = ""
    unparsable: str = ""


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table.

    Args:
        spec: as `--methods` takes it.
        row: what it is called there.
        tflops: its "paper FLOPs" in 10^12, as they were printed; None where they weren't.
        figures: by benchmark and by key of a row of the report, as they were printed.
        open: by name of a condition what is known of it, where the paper leaves it open and `spec`
            is this project's choice.
    """

    spec: str
    row: str
    tflops: float | None = None
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    open: Mapping[str, str] = field(default_factory=dict)

    def measured_in(self, benchmark: str) -> dict[str, float]:
        """The figures in the units of the report: accuracies as shares."""
        return {
            name: value if name == "judge_score" else round(value / 100, 6)
            for name, value in self.figures.get(benchmark, {}).items()
        }


@dataclass(frozen=True)
class Preset:
    """The settings of published rows, and their figures.

    Args:
        name: on the command line.
        paper: which published them.
        model: its name in the catalog.
        frames: of each video.
        dtype: of the weights.
        tasks: the benchmarks, by name.
        always: conditions that differ whatever is chosen: name, here, published.
        rows: of the table; the baseline first.
    """

    name: str
    paper: str
    model: str
    frames: int
    dtype: str
    tasks: Mapping[str, Task]
    always: tuple[tuple[str, str, str], ...]
    rows: tuple[PublishedRow, ...]

    @property
    def methods(self) -> str:
        """The rows, as `--methods` takes them."""
        return ",".join(row.spec for row in self.rows)

    def for_benchmark(self, benchmark: str) -> Task:
        """How a benchmark was asked.

        Raises:
            UsageError: the table hasn't got it.
        """
        if benchmark not in self.tasks:
            raise UsageError(
                f"--preset {self.name} has no row for {benchmark}: {self.paper} reports "
                f"{', '.join(self.tasks)}"
            )
        return self.tasks[benchmark]

    def prepare(self, dataset: Dataset) -> None:
        """Give a benchmark the prompts of the published code.

        Raises:
            UsageError: the table hasn't got it.
        """
        for name, value in self.for_benchmark(dataset.name).prompt.items():
            setattr(dataset, name, value)

    def applied(self, request: Request, benchmark: str, given: Collection[str]) -> Request:
        """A request with the preset's model, frames and length of answers.

        Args:
            request: what the flags chose.
            benchmark: in `tasks`.
            given: names of the parameters that were given, which stay as they are.
        """
        sampling, generation = request.sampling, request.generation
        if not {"frames", "fps"} & set(given):
            sampling = replace(sampling, frames=self.frames)
        if "max_new_tokens" not in given:
            length = self.for_benchmark(benchmark).max_new_tokens
            generation = replace(generation, max_new_tokens=length)
        model = request.model if "model" in given else self.model
        return replace(request, model=model, sampling=sampling, generation=generation)


def preset_named(name: str) -> Preset:
    """A preset.

    Raises:
        UsageError: there is none of this name.
    """
    known = presets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--preset: there is no {name!r} (there are {', '.join(known)}){hint}")
    return known[name]


@cache
def presets() -> Mapping[str, Preset]:
    """All presets, by name."""
    content = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    rows = content["rows"]
    return {one["name"]: _preset(one, content[one["settings"]], rows) for one in content["presets"]}


def _preset(one: dict[str, Any], shared: dict[str, Any], rows: dict[str, Any]) -> Preset:
    return Preset(
        name=one["name"],
        paper=shared["paper"],
        model=one["model"],
        frames=shared["frames"],
        dtype=shared["dtype"],
        tasks={name: Task(**shared["tasks"][name]) for name in one["measured_on"]},
        always=tuple((c["name"], c["here"], c["published"]) for c in shared["always"]),
        rows=tuple(PublishedRow(**rows[name]) for name in one["rows"]),
    )
