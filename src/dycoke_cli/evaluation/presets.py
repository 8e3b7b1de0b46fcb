"""Presets of published results (`--preset` of `eval` and `bench`): settings and figures.

The data are in presets.toml, with a source for each figure. A report has the figures beside its
rows, with the conditions that differ.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError, did_you_mean
from dycoke_cli.evaluation.dataset import ACCURACY, Dataset
from dycoke_cli.evaluation.datasets import class_of
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.evaluation.method_row import KeptRow
    from dycoke_cli.evaluation.run_record import RunRecord


_DATA = Path(__file__).with_name("presets.toml")


@dataclass(frozen=True)
class PublishedSettings:
    """Published settings of a benchmark."""

    max_tokens: int  # limit of an answer's length
    # attributes of the dataset that select the prompts of the published code
    prompt: Mapping[str, bool] = field(default_factory=dict)
    judge: str = ""  # the LLM that graded the answers; empty for none
    unparsable: str = ""  # treatment of unparsable answers, if they weren't counted as incorrect


@dataclass(frozen=True)
class PublishedRow:
    """Row of a published table."""

    spec: str  # the row in the syntax of `--methods`
    row: str  # name of the row in the paper
    tflops: float | None = None  # FLOPs in 10^12 as printed in the paper; None if not reported
    # printed figures, by benchmark and by key of a row of our report
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    # key of the row in presets.toml whose FLOPs and figures these are, if it is another
    printed: str = ""
    # conditions that the paper leaves open, so that `spec` is this project's choice: name and what
    # is known
    open: Mapping[str, str] = field(default_factory=dict)

    def measured_in(self, benchmark: str) -> dict[str, float]:
        """Figures in the report's units: accuracies as shares."""
        return {
            name: value if name == "judge_score" else round(value / 100, 6)
            for name, value in self.figures.get(benchmark, {}).items()
        }


@dataclass(frozen=True)
class Preset:
    """Settings and figures of a published table."""

    name: str  # name on the command line
    paper: str  # the source
    model: str  # name of the model in the catalog
    frames: int  # frames per video
    dtype: str  # weight dtype
    generated: int  # tokens generated, by which FLOPs are compared
    tasks: Mapping[str, PublishedSettings]  # the benchmarks, by name
    # conditions that differ in every case: (name, here, published)
    always: tuple[tuple[str, str, str], ...]
    rows: tuple[PublishedRow, ...]  # rows of the table, the baseline first

    @property
    def methods(self) -> str:
        """The rows in the syntax of `--methods`."""
        return ",".join(row.spec for row in self.rows)

    def for_benchmark(self, benchmark: str) -> PublishedSettings:
        """Settings of a benchmark."""
        if benchmark not in self.tasks:
            raise UsageError(
                f"--preset {self.name} has no row for {benchmark}: {self.paper} reports "
                f"{', '.join(self.tasks)}"
            )
        return self.tasks[benchmark]

    def prepare(self, dataset: Dataset) -> None:
        """Set the prompts of the published code on a dataset."""
        for name, value in self.for_benchmark(dataset.name).prompt.items():
            setattr(dataset, name, value)

    def applied(self, request: Request, benchmark: str | None, given: Collection[str]) -> Request:
        """Apply the preset's model, frames and answer length to a request.

        Args:
            benchmark: key of `tasks`; None for videos that aren't of one, with the length of
                answers by which FLOPs are compared.
        """
        sampling, generation = request.sampling, request.generation
        if not {"frames", "fps"} & set(given):
            sampling = replace(sampling, frames=self.frames)
        if "max_tokens" not in given:
            length = (
                self.generated if benchmark is None else self.for_benchmark(benchmark).max_tokens
            )
            generation = replace(generation, max_tokens=length)
        model = request.model if "model" in given else self.model
        return replace(request, model=model, sampling=sampling, generation=generation)


def preset_named(name: str) -> Preset:
    """Look up a preset."""
    all_presets = presets()
    if name not in all_presets:
        hint = did_you_mean(name, all_presets, "`dycoke eval --list` lists them")
        raise UsageError(f"--preset: there is no {name!r}; {hint}")
    return all_presets[name]


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
        generated=shared["generated"],
        tasks={name: PublishedSettings(**shared["tasks"][name]) for name in one["measured_on"]},
        always=tuple((c["name"], c["here"], c["published"]) for c in shared["always"]),
        rows=tuple(_row(rows[name], rows) for name in one["rows"]),
    )


def _row(one: dict[str, Any], rows: dict[str, Any]) -> PublishedRow:
    printed = rows[one["printed"]] if "printed" in one else {}
    shared = {key: printed[key] for key in ("tflops", "figures") if key in printed}
    return PublishedRow(**shared | one)


@dataclass(frozen=True)
class PublishedRecord:
    """What others measured, and under which other conditions: the value of `published`."""

    preset: Annotated[str, Doc("As it was given to --preset.")]
    paper: Annotated[str, Doc("Where the figures were published.")]
    row: Annotated[str, Doc("The row of its table.")]
    figures: Annotated[
        dict[str, float],
        Doc("By the key of this row that has the measured one: accuracies as shares."),
    ]
    tflops: Annotated[float | None, Doc("Its FLOPs in 10^12, as printed; null where they aren't.")]
    differs: Annotated[
        dict[str, tuple[str, ...]],
        Doc("Conditions that differ: what holds here, what in the paper."),
    ]


def published_beside(row: KeptRow, record: RunRecord) -> PublishedRecord | None:
    """Published figures of a row; None without a preset, or without such a row in it."""
    preset, benchmark = presets().get(record.preset), row.setup.benchmark
    if preset is None or benchmark not in preset.tasks:
        return None
    of_method = [one for one in preset.rows if one.spec.partition(":")[0] == row.spec.name]
    if not of_method:
        return None
    # The method's parameters may be changed by the user: the nearest published row counts.
    nearest = min(of_method, key=lambda one: _differing(row, one))
    task = preset.tasks[benchmark]
    return PublishedRecord(
        preset=preset.name,
        paper=preset.paper,
        row=nearest.row,
        figures=nearest.measured_in(benchmark),
        tflops=nearest.tflops,
        differs={
            name: (_shown(here), _shown(published))
            for name, here, there in _conditions(row, record, preset, nearest, task)
            if here != (published := nearest.open.get(name, there))
        },
    )


def _differing(row: KeptRow, published: PublishedRow) -> int:
    """Number of a published row's parameters with another value here."""
    (spec,) = parse_specs(published.spec)
    return sum(row.parameters.get(name) != value for name, value in spec.given.items())


def preset_warnings(record: RunRecord) -> list[str]:
    """Warnings about the preset of a record."""
    if not record.preset:
        return []
    if record.preset not in presets():
        return [
            f"this release doesn't know the preset {record.preset}: its published figures are left "
            "out"
        ]
    preset, model, warnings = presets()[record.preset], record.model["name"], []
    if model != preset.model and any(row.figures or row.tflops for row in preset.rows):
        warnings.append(
            f"the published figures of {preset.name} are those of {preset.model}, not of {model}"
        )
    if all(published_beside(row, record) is None for row in record.rows):
        warnings.append(f"none of the methods has published figures in {preset.name}")
    return warnings


def _conditions(
    row: KeptRow,
    record: RunRecord,
    preset: Preset,
    published: PublishedRow,
    task: PublishedSettings,
) -> Iterator[tuple[str, Any, Any]]:
    """Comparable conditions: (name, value here, published value)."""
    setup, about = row.setup, class_of(row.setup.benchmark).about
    yield "model", record.model["name"], preset.model
    yield "precision", setup.model["dtype"] or "unknown", preset.dtype
    yield (
        "frames",
        "as many as --fps takes" if setup.frames is None else setup.frames,
        preset.frames,
    )
    yield "max tokens", setup.max_tokens, task.max_tokens
    # The published code has no such options, so it has our defaults.
    defaults = {**asdict(Sampling()), **asdict(GenerationOptions())}
    for name, value in setup.options.items():
        if name != "fps":
            yield name, "default" if value == defaults[name] else value, "default"
    (spec,) = parse_specs(published.spec)
    for name, value in spec.create().parameters().items():
        if value is not None:
            yield name, row.parameters.get(name), value
    yield "split", setup.split, about.splits[0]
    yield "questions", len(record.items), about.questions
    if "implementation" in published.open:
        yield "implementation", "this project's", ""
    if task.judge:
        metric = "exact match" if about.metric == ACCURACY else about.metric
        here = f"{record.judge}, prompt {record.prompt}" if record.judge else f"none ({metric})"
        yield "judge", here, f"{task.judge}, prompt of lmms-eval"
    if task.unparsable:
        yield "answers not understood", "wrong", task.unparsable
    yield from preset.always


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)
