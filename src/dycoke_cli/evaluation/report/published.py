"""Comparison with published figures: the figures of a row, and the conditions that differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.dataset import ACCURACY, OWN_RULE
from dycoke_cli.evaluation.datasets import class_of
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.presets import Preset, PublishedRow, PublishedSettings, presets
from dycoke_cli.evaluation.run_record import RunRecord
from dycoke_cli.video import Sampling


@dataclass(frozen=True)
class DifferingCondition:
    """A condition that differs: an entry of `differs`."""

    name: str
    here: str
    published: str


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
    differs: Annotated[tuple[DifferingCondition, ...], Doc("Conditions that differ.")]


def published_beside(row: KeptRow, record: RunRecord) -> PublishedRecord | None:
    """Published figures of a row; None without a preset, or without such a row in it."""
    preset, benchmark = presets().get(row.preset), row.setup.benchmark
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
        differs=tuple(
            DifferingCondition(name, _shown(here), _shown(published))
            for name, here, there in _conditions(row, record, preset, nearest, task)
            if here != (published := nearest.open.get(name, there))
        ),
    )


def _differing(row: KeptRow, published: PublishedRow) -> int:
    """Number of a published row's parameters with another value here."""
    (spec,) = parse_specs(published.spec)
    return sum(row.parameters.get(name) != value for name, value in spec.given.items())


def preset_warnings(record: RunRecord) -> list[str]:
    """Warnings about the presets of a record."""
    warnings = []
    for name in dict.fromkeys(row.preset for row in record.rows if row.preset):
        rows = [row for row in record.rows if row.preset == name]
        if name not in presets():
            warnings.append(
                f"this release doesn't know the preset {name}: its published figures are left out"
            )
            continue
        model, published = presets()[name].model, presets()[name].rows
        others = dict.fromkeys(row.model for row in rows if row.model != model)
        if others and any(row.figures or row.tflops for row in published):
            warnings.append(
                f"the published figures of {name} are those of {model}, not of {', '.join(others)}"
            )
        if all(published_beside(row, record) is None for row in rows):
            warnings.append(f"none of the methods has published figures in {name}")
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
    yield "model", row.model, preset.model
    yield "precision", setup.model["dtype"] or "unknown", preset.dtype
    yield (
        "frames",
        "as many as --fps takes" if setup.frames is None else setup.frames,
        preset.frames,
    )
    yield "max new tokens", setup.max_new_tokens, task.max_new_tokens
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
        own = record.rule == OWN_RULE
        yield "answers not understood", "wrong" if own else task.unparsable, task.unparsable
    yield from preset.always


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)
