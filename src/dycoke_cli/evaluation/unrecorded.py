"""Folders of releases that kept answers alone: what they asked, as far as the answers say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.journal import Answers
from dycoke_cli.evaluation.prediction import Setup
from dycoke_cli.evaluation.record import Record, RecordedRow
from dycoke_cli.evaluation.specs import ABLATIONS
from dycoke_cli.unicode import display_name

_ALIKE = ("benchmark", "edition", "split", "model", "max_new_tokens")


def record_without(answers: Answers, data: Path | None) -> Record:
    """The record of a folder that has none: every question that has an answer, every setup a row.

    Args:
        answers: of the folder.
        data: of the benchmark, which has to be read anew; None where it is bundled.

    Raises:
        UsageError: the benchmark isn't there or has changed, or there are several in the folder.
    """
    setups = list(answers.setups.values())
    if not setups:
        raise UsageError(f"{display_name(answers.path)} has no answers")
    first = setups[0]
    for name in _ALIKE:
        if any(getattr(setup, name) != getattr(first, name) for setup in setups):
            raise UsageError(
                f"{display_name(answers.path)} is an earlier release's, and has answers to more "
                f"than one {name.replace('_', ' ')}: run the same `dycoke eval` with this --out "
                "again, which asks only what is missing"
            )
    dataset = open_dataset(first.benchmark, data)
    if dataset.edition(first.split) != first.edition:
        raise UsageError(
            f"{display_name(answers.path)} has answers to version {first.edition} of "
            f"{first.benchmark}, and here is version {dataset.edition(first.split)}"
        )
    answered = {name for setup in setups for name in answers.predictions(setup)}
    asked = {
        place: item
        for place, item in enumerate(dataset.items(first.split, None))
        if item.id in answered
    }
    frames = max((setup.frames or 0 for setup in setups), default=0) or None
    rows = [_row(setup, frames) for setup in setups]
    # In which order they were given isn't known: the baseline, methods, controls.
    rows.sort(key=lambda row: (not row.baseline, row.name in ABLATIONS))
    return Record(
        rows=tuple(rows),
        items=tuple(asked.values()),
        places=tuple(asked),
        frames=frames,
        conditions={},
        metric=dataset.about.metric,
        macro=dataset.about.macro,
        warnings=(
            f"an earlier release wrote {display_name(answers.path)}: its questions are taken to be "
            "those that have an answer",
        ),
    )


def _row(setup: Setup, frames: int | None) -> RecordedRow:
    """A row by its setup, named as `--methods` would name it."""
    given = {name: value for name, value in setup.method.items() if name != "name"}
    method, name = METHODS[setup.method["name"]], setup.method["name"]
    if setup.frames in (0, 1) and setup.frames != frames:
        name = "one-frame" if setup.frames else "no-video"
    usual = {**asdict(method()), **method().parameters()}
    chosen = {k: v for k, v in given.items() if usual.get(k) is not None and usual[k] != v}
    spec = ":".join([name, *(f"{k}={str(v).lower()}" for k, v in chosen.items())])
    return RecordedRow(spec, name, given, name == "none", setup)
