"""Presets of published rows, against the figures and settings as they were printed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.combine import report_of
from dycoke_cli.evaluation.datasets import class_of, open_dataset
from dycoke_cli.evaluation.datasets.videomme import VideoMME
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.evaluation_report import EvalReport
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Setup
from dycoke_cli.evaluation.presets import preset_named, presets
from dycoke_cli.evaluation.specs import parse_specs
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.request import Request
from dycoke_cli.video import Sampling

from . import miniatures
from .test_combine import ITEMS, written

# The table of the paper once more, column by column, as it is printed.
COLUMNS = (
    "activitynetqa", "nextqa_mc_test", "perceptiontest_val_mc", "video_dc499", "videomme",
    "videomme_w_subtitle",
)  # fmt: skip
PRINTED = {
    ("0.5b", None): "47.93/2.66 57.2 49.1 2.86 44.1 43.5",
    ("0.5b", 0.7): "47.70/2.65 57.7 49.5 2.56 45.2 43.3",
    ("7b", None): "51.93/2.86 79.4 57.1 3.30 58.5 61.3",
    ("7b", 0.5): "52.08/2.88 78.5 57.6 3.29 59.5 61.4",
    ("7b", 0.7): "51.80/2.85 78.2 57.6 3.20 58.3 60.7",
}


def read(cell: str, column: str) -> dict[str, float]:
    if "/" in cell:
        accuracy, score = map(float, cell.split("/"))
        return {"judge_accuracy": accuracy / 100, "judge_score": score}
    return {"judge_score": float(cell)} if column == "video_dc499" else {
        "accuracy": float(cell) / 100
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "ratio"), [(size, ratio) for size, ratio in PRINTED if ratio is not None]
)
def test_figures_and_settings_are_those_that_were_printed(size: str, ratio: float) -> None:
    preset = preset_named(f"paper-{size}-k{ratio}")
    assert (preset.model, preset.frames) == (f"llava-onevision-{size}", 32)
    assert preset.model in CATALOG
    base, dycoke = parse_specs(preset.methods)
    assert base.is_baseline
    assert dycoke.create() == DyCoke(
        merge_ratio=ratio, prune_ratio=0.7, prune_layer=3, variant="published"
    )
    for row, key in zip(preset.rows, ((size, None), (size, ratio)), strict=True):
        cells = PRINTED[key].split()
        for column, cell in zip(COLUMNS, cells, strict=True):
            assert row.measured_in(column) == pytest.approx(read(cell, column))
        assert tuple(row.figures) == COLUMNS
    assert tuple(preset.tasks) == COLUMNS


def test_all_presets() -> None:
    assert list(presets()) == [f"paper-{s}-k{k}" for s, k in PRINTED if k is not None]
    for preset in presets().values():
        for benchmark, task in preset.tasks.items():
            about = class_of(benchmark).about
            # A judge's figure has a judge, and nothing else has.
            figures = preset.rows[0].figures[benchmark]
            assert bool(task.judge) == bool(about.judge) == ("judge_score" in figures)


@pytest.mark.parametrize(
    ("given", "model", "frames", "fps", "length"),
    [
        ((), "llava-onevision-7b", 32, None, 16),
        (("model",), "mini", 32, None, 16),
        (("frames",), "llava-onevision-7b", 8, None, 16),
        (("max_new_tokens",), "llava-onevision-7b", 32, None, 5),
        (("fps",), "llava-onevision-7b", 8, 2.0, 16),
    ],
)
def test_what_is_given_stays(
    given: Collection[str], model: str, frames: int, fps: float | None, length: int
) -> None:
    request = Request(
        "mini", BUNDLED.loading, Sampling(frames=8, fps=fps), BUNDLED.method,
        GenerationOptions(max_new_tokens=5, temperature=0.5),
    )  # fmt: skip
    applied = preset_named("paper-7b-k0.7").applied(request, "videomme", given)
    assert (applied.model, applied.sampling.frames, applied.sampling.fps) == (model, frames, fps)
    assert applied.generation == GenerationOptions(max_new_tokens=length, temperature=0.5)


def test_the_prompt_of_the_published_code(tmp_path: Path) -> None:
    """Options as Python writes a list."""
    dataset = open_dataset("videomme", miniatures.make("videomme", tmp_path))
    plain = dataset.items("test", None)[0].question
    preset_named("paper-7b-k0.7").prepare(dataset)
    assert "['A. Blue.', 'B. Red.', 'C. Green.', 'D. Yellow.']" in (
        dataset.items("test", None)[0].question
    )
    assert "['A. Blue." not in plain
    assert dataset.edition("test").endswith("-list")
    assert VideoMME.options_as_list is False  # of no other instance


@pytest.mark.parametrize(
    ("name", "benchmark", "sentence"),
    [
        ("paper-7b-k0.6", "videomme", r"there is no 'paper-7b-k0\.6' \(there are .*\); did you me"),
        ("paper-7b-k0.7", "mvbench", r"paper-7b-k0\.7 has no row for mvbench: arXiv 2411\.15024 r"),
        ("paper-7b-k0.7", "shapes", r"has no row for shapes: .* reports activitynetqa, nextqa_mc"),
    ],
)
def test_what_there_is_not(name: str, benchmark: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        preset_named(name).for_benchmark(benchmark)


EXACT = {
    "name": "llava-onevision-7b", "revision": None, "weights": "w", "dtype": "float16",
    "device": "cuda",
}  # fmt: skip
ALWAYS = ["software", "chat template", "frame sampling"]


def rows_of(name: str, benchmark: str, **changes: Any) -> tuple[KeptRow, ...]:
    """The rows of a preset as its own model would have them, with changes to their setups."""
    preset = preset_named(name)
    rows = []
    for spec in parse_specs(preset.methods):
        values: dict[str, Any] = {
            "version": "0", "benchmark": benchmark, "edition": "1",
            "split": class_of(benchmark).about.splits[0], "model": EXACT,
            "method": {"name": spec.method, **spec.given}, "frames": 32,
            "max_new_tokens": preset.tasks[benchmark].max_new_tokens, **changes,
        }  # fmt: skip
        parameters = spec.create().parameters()
        rows.append(KeptRow(spec, parameters, Setup(**values), name))
    return tuple(rows)


def report(tmp_path: Path, rows: tuple[KeptRow, ...], **values: Any) -> EvalReport:
    return report_of([recorded(tmp_path / "run", rows, **values)])


def recorded(folder: Path, rows: tuple[KeptRow, ...], **values: Any) -> Path:
    """A folder with a run of these rows; answers are those of test_combine."""
    names = {row.spec.text: "none" if row.spec.is_baseline else "other" for row in rows}
    return written(folder, rows, names=names, **values)


def differing(made: EvalReport, number: int = 0) -> dict[str, tuple[str, str]]:
    known = made.rows[number].published
    assert known is not None
    return {one.name: (one.here, one.published) for one in known.differs}


def test_nothing_differs_but_what_always_does(tmp_path: Path) -> None:
    """Under all of the published conditions that can be had."""
    made = report(tmp_path, rows_of("paper-7b-k0.7", "videomme"))
    for number, figure in ((0, 0.585), (1, 0.583)):
        known = made.rows[number].published
        assert known is not None
        assert (known.figures, known.preset) == ({"accuracy": figure}, "paper-7b-k0.7")
        found = differing(made, number)
        assert found.pop("questions") == (str(len(ITEMS)), "2,700")
        assert list(found) == ALWAYS
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("changes", "name", "pair"),
    [
        ({"frames": 8}, "frames", ("8", "32")),
        ({"frames": None, "options": {"fps": 1.0}}, "frames", ("as many as --fps takes", "32")),
        ({"max_new_tokens": 128}, "max new tokens", ("128", "16")),
        ({"model": {**EXACT, "dtype": "int8"}}, "precision", ("int8", "float16")),
        ({"options": {"temperature": 0.7}}, "temperature", ("0.7", "default")),
    ],
)
def test_a_condition_that_differs_is_named(
    changes: dict[str, Any], name: str, pair: tuple[str, str], tmp_path: Path
) -> None:
    found = differing(report(tmp_path, rows_of("paper-7b-k0.7", "videomme", **changes)))
    del found["questions"]
    assert list(found) == [name, *ALWAYS]
    assert found[name] == pair


def test_parameters_of_a_method_that_differ(tmp_path: Path) -> None:
    """Of `--methods` in place of the preset's; and a method that the table hasn't got."""
    base, dycoke = rows_of("paper-7b-k0.7", "videomme")
    (spec,) = parse_specs("dycoke:merge_ratio=0.3:prune_ratio=0.7:prune_layer=3")
    parameters = spec.create().parameters() | {"positions": "kept"}
    rows = (
        base,
        replace_row(dycoke, spec.text, "dycoke", parameters),
        replace_row(dycoke, "fastv", "fastv", {}),
    )
    made = report(tmp_path, rows)
    found = differing(made, 1)
    assert found["merge_ratio"] == ("0.3", "0.7")
    assert found["variant"] == ("paper", "published")
    assert found["positions"] == ("kept", "renumbered")
    assert "prune_layer" not in found
    assert made.rows[2].published is None


def replace_row(row: KeptRow, spec: str, name: str, parameters: dict[str, Any]) -> KeptRow:
    setup = replace(row.setup, method={"name": name, **parameters})
    named = replace(row.spec, text=spec, name=name)
    return replace(row, spec=named, parameters=parameters, setup=setup)


def test_another_model_is_said(tmp_path: Path) -> None:
    mini = {**EXACT, "name": "mini"}
    made = report(tmp_path, rows_of("paper-7b-k0.7", "videomme", model=mini))
    assert differing(made)["model"] == ("mini", "llava-onevision-7b")
    assert made.warnings == (
        "the published figures of paper-7b-k0.7 are those of llava-onevision-7b, not of mini",
    )


def test_a_judge_that_was_not_asked(tmp_path: Path) -> None:
    made = report(tmp_path, rows_of("paper-0.5b-k0.7", "activitynetqa"))
    known = made.rows[0].published
    assert known is not None
    assert known.figures == {"judge_accuracy": 0.4793, "judge_score": 2.66}
    assert made.rows[0].judge_accuracy is None
    assert differing(made)["judge"] == (
        "none (exact match)", "gpt-4o-mini, prompt of lmms-eval",
    )  # fmt: skip
    letters = report_of([recorded(tmp_path / "2", rows_of("paper-0.5b-k0.7", "nextqa_mc_test"))])
    assert differing(letters)["answers not understood"] == ("wrong", "a letter drawn at random")


def test_presets_and_models_in_one_report(tmp_path: Path) -> None:
    """Each row keeps its own; the baseline that two of them share comes once."""
    small = {**EXACT, "name": "llava-onevision-0.5b"}
    names = {"paper-7b-k0.5": EXACT, "paper-7b-k0.7": EXACT, "paper-0.5b-k0.7": small}
    folders = [
        recorded(tmp_path / name, rows_of(name, "videomme", model=model))
        for name, model in names.items()
    ]
    made = report_of(folders)
    known = [row.published for row in made.rows]
    assert [one.figures["accuracy"] for one in known if one] == [0.585, 0.595, 0.583, 0.441, 0.452]
    assert all("merge_ratio" not in differing(made, n) for n in range(5))


def test_a_run_without_a_preset_takes_that_of_another(tmp_path: Path) -> None:
    """Of the same rows."""
    rows = rows_of("paper-7b-k0.7", "videomme")
    plain = tuple(replace(row, preset="") for row in rows)
    made = report_of([recorded(tmp_path / "1", plain), recorded(tmp_path / "2", rows)])
    assert [row.published is not None for row in made.rows] == [True, True]
    assert report_of([tmp_path / "1"]).rows[0].published is None


def test_a_preset_of_a_later_release(tmp_path: Path) -> None:
    rows = tuple(replace(r, preset="paper-9b") for r in rows_of("paper-7b-k0.7", "videomme"))
    made = report(tmp_path, rows)
    assert [row.published for row in made.rows] == [None, None]
    assert made.warnings[0].startswith("this release doesn't know the preset paper-9b")


def test_no_method_of_the_table(tmp_path: Path) -> None:
    _, dycoke = rows_of("paper-7b-k0.7", "videomme")
    made = report(tmp_path, (replace_row(dycoke, "fastv", "fastv", {}),))
    assert made.warnings == ("none of the methods has published figures in paper-7b-k0.7",)
