"""Published figures beside the measured ones, and the conditions in which the two differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.dataset import ACCURACY, OWN_RULE
from dycoke_cli.evaluation.datasets import class_of
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.method_specs import parse_specs
from dycoke_cli.evaluation.presets import Preset, PublishedRow, Task, presets
from dycoke_cli.evaluation.run_record import RunRecord
from dycoke_cli.video import Sampling


@dataclass(frozen=True)
class Condition:
    """A condition that differs: an entry of `differs`."""

    name: str
    here: str
    published: str


@dataclass(frozen=True)
class Published:
    """What others measured, and under which other conditions: the value of `published`."""

    preset: Annotated[str, Doc("As it was given to --preset.")]
    paper: Annotated[str, Doc("Where the figures were published.")]
    row: Annotated[str, Doc("The row of its table.")]
    figures: Annotated[
        dict[str, float],
        Doc("By the key of this row that has the measured one: accuracies as shares."),
    ]
    tflops: Annotated[float | None, Doc("Its FLOPs in 10^12, as printed; null where they aren't.")]
    differs: Annotated[tuple[Condition, ...], Doc("Conditions that differ.")]


def published_beside(row: KeptRow, record: RunRecord) -> Published | None:
    """The figures that were published for a row; None where it has no preset, or that has no row.

    Args:
        row: of the record.
        record: what was asked.
    """
    preset, benchmark = presets().get(row.preset), row.setup.benchmark
    if preset is None or benchmark not in preset.tasks:
        return None
    of_method = [one for one in preset.rows if one.spec.partition(":")[0] == row.spec.name]
    if not of_method:
        return None
    found = min(of_method, key=lambda one: _differing(row, one))
    task = preset.tasks[benchmark]
    return Published(
        preset=preset.name,
        paper=preset.paper,
        row=found.row,
        figures=found.measured_in(benchmark),
        tflops=found.tflops,
        differs=tuple(
            Condition(name, _shown(here), _shown(published))
            for name, here, there in _conditions(row, record, preset, found, task)
            if here != (published := found.open.get(name, there))
        ),
    )


def _differing(row: KeptRow, published: PublishedRow) -> int:
    """How many of a published row's parameters are others here."""
    (spec,) = parse_specs(published.spec)
    return sum(row.parameters.get(name) != value for name, value in spec.given.items())


def preset_warnings(record: RunRecord) -> list[str]:
    """What a person should know of the presets of a record."""
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
    row: KeptRow, record: RunRecord, preset: Preset, published: PublishedRow, task: Task
) -> Iterator[tuple[str, Any, Any]]:
    """All that can be compared: its name, what it is here, what it was there."""
    setup, about = row.setup, class_of(row.setup.benchmark).about
    yield "model", row.model, preset.model
    yield "precision", setup.model["dtype"] or "unknown", preset.dtype
    yield (
        "frames",
        "as many as --fps takes" if setup.frames is None else setup.frames,
        preset.frames,
    )
    yield "max new tokens", setup.max_new_tokens, task.max_new_tokens
    # They have their defaults there.
    plain = {**asdict(Sampling()), **asdict(GenerationOptions())}
    for name, value in setup.options.items():
        if name != "fps":
            yield name, "default" if value == plain[name] else value, "default"
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
