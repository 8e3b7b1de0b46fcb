"""Presets of published rows, against the figures and settings as they were printed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.fastv import FastV
from dycoke_cli.compression.methods.prumerge import PruMerge
from dycoke_cli.compression.methods.random_merge import RandomMerge
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory.flops import expected_flops
from dycoke_cli.engine.settling import settled
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets import class_of
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.evaluation_report import EvalReport, report_of
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Setup
from dycoke_cli.evaluation.presets import Preset, preset_named, presets
from dycoke_cli.models.catalog import CATALOG, find
from dycoke_cli.models.files.hub import stored_config
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.evaluation.test_evaluation_report import ITEMS, written

# The table of the paper once more, column by column, as it is printed.
COLUMNS = (
    "activitynetqa", "nextqa_mc_test", "perceptiontest_val_mc", "video_dc499", "videomme",
    "videomme_w_subtitle",
)  # fmt: skip
PRINTED = {
    "0.5b": {
        "none": (3.4, "47.93/2.66 57.2 49.1 2.86 44.1 43.5"),
        "fastv": (1.4, "46.74/2.58 56.5 49.1 2.36 42.0 41.4"),
        "prumerge": (1.5, "41.68/2.35 54.0 47.5 2.10 38.8 39.3"),
        "K = 0.3": (2.4, "47.90/2.65 57.2 48.9 2.63 45.4 43.8"),
        "K = 0.5": (1.8, "47.80/2.65 57.2 49.5 2.62 45.1 43.4"),
        "K = 0.7": (1.2, "47.70/2.65 57.7 49.5 2.56 45.2 43.3"),
    },
    "7b": {
        "none": (41.4, "51.93/2.86 79.4 57.1 3.30 58.5 61.3"),
        "fastv": (17.9, "50.93/2.80 78.2 56.7 3.09 57.3 60.5"),
        "prumerge": (21.1, "50.45/2.78 76.0 54.3 2.88 52.9 57.0"),
        "K = 0.3": (30.8, "51.80/2.85 79.1 57.2 3.19 58.8 61.0"),
        "K = 0.5": (24.1, "52.08/2.88 78.5 57.6 3.29 59.5 61.4"),
        "K = 0.7": (17.9, "51.80/2.85 78.2 57.6 3.20 58.3 60.7"),
    },
    "72b": {
        "none": (436.1, "52.96/2.92 80.2 66.9 3.34 66.2 69.5"),
        "fastv": (202.4, "52.63/2.82 77.2 58.5 3.01 62.1 66.7"),
        "prumerge": (229.8, "50.91/2.80 75.2 55.6 2.81 61.9 63.8"),
        "K = 0.5": (262.5, "52.81/2.92 79.1 60.2 3.35 66.3 69.7"),
        "K = 0.7": (195.1, "52.38/2.88 78.8 59.6 3.27 64.9 68.7"),
    },
}
SIZES = {"0.5b": (24, 896, 4864), "7b": (28, 3584, 18944), "72b": (80, 8192, 29568)}


def dycoke(merge_ratio: float, prune_ratio: float = 0.7) -> DyCoke:
    return DyCoke(
        merge_ratio=merge_ratio, prune_ratio=prune_ratio, prune_layer=3, variant="published"
    )


METHODS = {
    "none": Method(),
    "fastv": FastV(prune_ratio=0.65, prune_layer=5),
    "prumerge": PruMerge(retain=0.55),
    "K = 0.3": dycoke(0.3),
    "K = 0.5": dycoke(0.5),
    "K = 0.7": dycoke(0.7),
}


def read(cell: str, column: str) -> dict[str, float]:
    if "/" in cell:
        accuracy, score = map(float, cell.split("/"))
        return {"judge_accuracy": accuracy / 100, "judge_score": score}
    return {"judge_score": float(cell)} if column == "video_dc499" else {
        "accuracy": float(cell) / 100
    }  # fmt: skip


@pytest.mark.parametrize("size", PRINTED)
def test_figures_and_settings_are_those_that_were_printed(size: str) -> None:
    preset, table = preset_named(f"table-1-{size}"), PRINTED[size]
    assert (preset.model, preset.frames) == (f"llava-onevision-{size}", 32)
    assert preset.model in CATALOG
    specs = parse_specs(preset.methods)
    assert specs[0].is_baseline
    *rows, of_code = preset.rows
    for row, spec, (name, (tflops, cells)) in zip(rows, specs[:-1], table.items(), strict=True):
        method = METHODS[name]
        if (size, name) == ("72b", "fastv"):  # 45 % there
            method = FastV(prune_ratio=0.55, prune_layer=5)
        assert spec.create() == method
        assert row.tflops == tflops
        assert tuple(row.figures) == COLUMNS
        for column, cell in zip(COLUMNS, cells.split(), strict=True):
            assert row.measured_in(column) == pytest.approx(read(cell, column))
    assert tuple(preset.tasks) == COLUMNS
    # P as the published code has it by default, beside the same figures.
    assert specs[-1].create() == dycoke(0.7, 0.8)
    assert (of_code.tflops, of_code.figures) == (rows[-1].tflops, rows[-1].figures)


def formula(size: str, read: list[float], attended: list[float]) -> float:
    """The paper's, by hand: 100 tokens generated, of layers that read and attend to so many."""
    _, d, m = SIZES[size]
    prefill = sum(4 * n * d * d + 2 * n * n * d + 2 * n * d * m for n in read)
    decode = sum(4 * d * d + 2 * d * m + 2 * (d * n + d * 101 / 2) for n in attended)
    return (prefill + 100 * decode) / 1e12


def tflops_here(preset: Preset, spec: str) -> float:
    """FLOPs in 10^12 of a row as it is here, by the formula of the code for the visual tokens."""
    source = find(preset.model)
    stored = stored_config(source)
    assert stored is not None
    assert source.entry is not None
    clip = source.entry.clip_tokens(preset.frames, 384, 384)
    assert clip is not None
    (parsed,) = parse_specs(spec)
    text = stored.values["text_config"]
    used = expected_flops(
        settled(parsed.create(), stored),
        clip,
        text=0,  # as in the paper
        generated=preset.generated,
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        mlp=text["intermediate_size"],
    )
    return (used.prefill + used.decode) / 1e12


@pytest.mark.parametrize("size", PRINTED)
def test_flops_of_the_rows_as_they_are_here(size: str) -> None:
    """Beside those that were printed; rows of the published variant have counts of their own."""
    preset, layers = preset_named(f"table-1-{size}"), SIZES[size][0]
    here = {row.spec: tflops_here(preset, row.spec) for row in preset.rows}
    share = 0.45 if size == "72b" else 0.35
    of_fastv = {
        at: formula(size, *[[6272.0] * at + [int(6272 * share)] * (layers - at)] * 2)
        for at in (3, 4, 5)
    }
    for row in preset.rows:
        if row.spec == "none":
            assert here[row.spec] == pytest.approx(formula(size, *[[6272.0] * layers] * 2))
            assert here[row.spec] == pytest.approx(row.tflops, rel=0.05)
        elif row.spec.startswith("fastv"):
            assert here[row.spec] == pytest.approx(of_fastv[5])
            # L isn't given: 5 is the one whose FLOPs are nearest to those printed, in every size.
            assert row.tflops is not None
            nearest = min(of_fastv, key=lambda at: abs(of_fastv[at] - (row.tflops or 0)))
            assert nearest == 5
        elif row.spec.startswith("prumerge"):
            assert here[row.spec] == pytest.approx(formula(size, *[[3449.0] * layers] * 2))
    spec = "dycoke:variant=published:merge_ratio=0.7:prune_ratio={}:prune_layer=3"
    for ratio in (0.7, 0.8):
        # The last visual token is never pruned there: 3,098 kept, int(3097 * (1 - P)) + 1 active.
        active = int(3097 * (1 - ratio)) + 1
        expected = formula(size, [3098.0] * layers, [3098.0] * 3 + [active] * (layers - 3))
        assert here[spec.format(ratio)] == pytest.approx(expected)


def test_all_presets() -> None:
    assert list(presets()) == [
        *(f"table-1-{size}" for size in PRINTED), "table-2", "table-3", "k0.3-0.5b", "k0.3-7b",
        "ttm-alone", "pruning-alone", "random-merging", "no-recall",
    ]  # fmt: skip
    for preset in presets().values():
        for benchmark, task in preset.tasks.items():
            about = class_of(benchmark).about
            # A judge's figure has a judge, and nothing else has.
            assert bool(task.judge) == bool(about.judge)
            if figures := preset.rows[0].figures:
                assert bool(task.judge) == ("judge_score" in figures[benchmark])


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("ttm-alone", replace(dycoke(0.7), kv_prune=False, prune_layer=None)),
        ("pruning-alone", replace(dycoke(0.7), ttm=False)),
        ("random-merging", RandomMerge(**vars(dycoke(0.7)))),
        ("no-recall", replace(dycoke(0.7), recall=False)),
    ],
)
def test_ablations_stand_between_the_baseline_and_dycoke(name: str, method: Method) -> None:
    specs = parse_specs(preset_named(name).methods)
    assert [spec.create() for spec in specs] == [Method(), method, dycoke(0.7)]


def test_settings_that_the_paper_leaves_open(tmp_path: Path) -> None:
    """They differ from what is printed, whatever they are here."""
    made = report(tmp_path, rows_of("table-1-7b", "videomme"))
    assert differing(made, 1)["prune_layer"] == ("5", "not given")
    assert differing(made, 2)["implementation"] == ("this project's", "not published")
    assert "implementation" not in differing(made, 3)
    # P of the paper, and the default of the code.
    assert "prune_ratio" not in differing(made, 5)
    assert differing(made, 6)["prune_ratio"] == ("0.8", "0.7 in the paper")


@pytest.mark.parametrize(
    ("given", "model", "frames", "fps", "length"),
    [
        ((), "llava-onevision-7b", 32, None, 16),
        (("model",), "mini", 32, None, 16),
        (("frames",), "llava-onevision-7b", 8, None, 16),
        (("max_tokens",), "llava-onevision-7b", 32, None, 5),
        (("fps",), "llava-onevision-7b", 32, 2.0, 16),
    ],
)
def test_what_is_given_stays(
    given: Collection[str], model: str, frames: int, fps: float | None, length: int
) -> None:
    request = Request(
        "mini", BUNDLED.loading, Sampling(frames=8) if fps is None else Sampling(fps=fps),
        BUNDLED.method,
        GenerationOptions(max_tokens=5, temperature=0.5),
    )  # fmt: skip
    applied = preset_named("table-1-7b").applied(request, "videomme", given)
    assert (applied.model, applied.sampling.frames, applied.sampling.fps) == (model, frames, fps)
    assert applied.generation == GenerationOptions(max_tokens=length, temperature=0.5)


@pytest.mark.parametrize(
    ("name", "benchmark", "sentence"),
    [
        ("table-1-7", "videomme", r"there is no 'table-1-7'; did you mean table-1-7b\?$"),
        ("table-1-7b", "mvbench", r"table-1-7b has no row for mvbench: arXiv 2411\.15024 r"),
        ("table-1-7b", "shapes", r"has no row for shapes: .* reports activitynetqa, nextqa_mc"),
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


def rows_of(
    name: str, benchmark: str, *, only: Collection[int] = range(9), **changes: Any
) -> tuple[KeptRow, ...]:
    """The rows of a preset as its own model would have them, with changes to their setups."""
    preset = preset_named(name)
    rows = []
    for spec in (one for n, one in enumerate(parse_specs(preset.methods)) if n in only):
        values: dict[str, Any] = {
            "version": "0", "benchmark": benchmark, "edition": "1",
            "split": class_of(benchmark).about.splits[0], "model": EXACT,
            "method": {"name": spec.method, **spec.given}, "frames": 32,
            "max_tokens": preset.tasks[benchmark].max_tokens, **changes,
        }  # fmt: skip
        parameters = spec.create().parameters()
        rows.append(KeptRow(spec, parameters, Setup(**values)))
    return tuple(rows)


def report(tmp_path: Path, rows: tuple[KeptRow, ...], preset: str = "table-1-7b") -> EvalReport:
    """Of a run of these rows; answers are those of test_evaluation_report."""
    names = {row.spec.text: "none" if row.spec.is_baseline else "other" for row in rows}
    return report_of(written(tmp_path / preset, rows, names=names, preset=preset))


def differing(made: EvalReport, number: int = 0) -> dict[str, tuple[str, ...]]:
    known = made.rows[number].published
    assert known is not None
    return dict(known.differs)


def test_nothing_differs_but_what_always_does(tmp_path: Path) -> None:
    """Under all of the published conditions that can be had."""
    made = report(tmp_path, rows_of("table-1-7b", "videomme"))
    for number, figure in ((0, 0.585), (3, 0.588), (4, 0.595), (5, 0.583)):
        known = made.rows[number].published
        assert known is not None
        assert (known.figures, known.preset) == ({"accuracy": figure}, "table-1-7b")
        found = differing(made, number)
        assert found.pop("questions") == (str(len(ITEMS)), "2,700")
        assert list(found) == ALWAYS
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("changes", "name", "pair"),
    [
        ({"frames": 8}, "frames", ("8", "32")),
        ({"frames": None, "options": {"fps": 1.0}}, "frames", ("as many as --fps takes", "32")),
        ({"max_tokens": 128}, "max tokens", ("128", "16")),
        ({"model": {**EXACT, "dtype": "int8"}}, "precision", ("int8", "float16")),
        ({"options": {"temperature": 0.7}}, "temperature", ("0.7", "default")),
    ],
)
def test_a_condition_that_differs_is_named(
    changes: dict[str, Any], name: str, pair: tuple[str, str], tmp_path: Path
) -> None:
    found = differing(report(tmp_path, rows_of("table-1-7b", "videomme", **changes)))
    del found["questions"]
    assert list(found) == [name, *ALWAYS]
    assert found[name] == pair


def test_parameters_of_a_method_that_differ(tmp_path: Path) -> None:
    """Of `--methods` in place of the preset's; and a method that the table hasn't got."""
    base, *_, kept, _ = rows_of("table-1-7b", "videomme")
    (spec,) = parse_specs("dycoke:merge_ratio=0.4:prune_ratio=0.7:prune_layer=3")
    parameters = spec.create().parameters() | {"positions": "kept"}
    rows = (
        base,
        replace_row(kept, spec.text, "dycoke", parameters),
        replace_row(kept, "evs", "evs", {}),
    )
    made = report(tmp_path, rows)
    found = differing(made, 1)
    assert found["merge_ratio"] == ("0.4", "0.3")
    assert found["variant"] == ("paper", "published")
    assert found["positions"] == ("kept", "renumbered")
    assert "prune_layer" not in found
    assert made.rows[2].published is None


def replace_row(row: KeptRow, spec: str, name: str, parameters: dict[str, Any]) -> KeptRow:
    setup = replace(row.setup, method={"name": name, **parameters})
    named = replace(row.spec, text=spec, name=name)
    return replace(row, spec=named, parameters=parameters, setup=setup)


def test_a_judge_that_was_not_asked(tmp_path: Path) -> None:
    made = report(tmp_path, rows_of("table-1-0.5b", "activitynetqa"), "table-1-0.5b")
    known = made.rows[0].published
    assert known is not None
    assert known.figures == {"judge_accuracy": 0.4793, "judge_score": 2.66}
    assert made.rows[0].judge_accuracy is None
    assert differing(made)["judge"] == (
        "none (exact match)", "gpt-4o-mini, prompt of lmms-eval",
    )  # fmt: skip
    (tmp_path / "letters").mkdir()
    letters = report(
        tmp_path / "letters", rows_of("table-1-0.5b", "nextqa_mc_test"), "table-1-0.5b"
    )
    assert differing(letters)["answers not understood"] == ("wrong", "a letter drawn at random")


def test_a_preset_of_a_later_release(tmp_path: Path) -> None:
    made = report(tmp_path, rows_of("table-1-0.5b", "videomme"), "paper-9b")
    assert {row.published for row in made.rows} == {None}
    assert made.warnings[0].startswith("this release doesn't know the preset paper-9b")
