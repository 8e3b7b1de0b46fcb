"""The fair table of methods: every one of the registry on `shapes`, at the same budgets.

`python -m benchmarks.methods --out FOLDER` asks what isn't answered yet (an interrupted run
resumes), and writes what came of it as JSON files into FOLDER/NAME. `--model` and `--name` measure
another checkpoint of that world beside the shipped one, `--tables` only some of the tables.
`python -m benchmarks.methods --out FOLDER --report shipped,control` makes tables and the picture of
those files, without a model; `--write` puts them into the pages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.method_pages import write_pages
from benchmarks.page import machine
from dycoke_cli.cli.eval import Shown
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import DycokeError
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.journal import open_journal
from dycoke_cli.evaluation.lines import BUNDLED, Evaluation, lines_of
from dycoke_cli.evaluation.metrics import Predictions, grouped, known_mean, mean_of
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.report import Report
from dycoke_cli.evaluation.runner import evaluate
from dycoke_cli.evaluation.specs import Spec, parse_specs
from dycoke_cli.json_schema import to_dict
from dycoke_cli.models.resolve import choose
from dycoke_cli.param import parameters_of

OUT = Path("runs/methods")
VIDEOS, WHOLE, FEW = 60, 600, 30
"""Videos of the main tables, of the whole split, and of tables that vary a detail."""
DTYPE = "float32"
"""Faster than bfloat16 on CPUs without instructions for it, and the same on all of them."""
BUDGETS = (0.5, 0.25, 0.15, 0.1, 0.05)
AT = 0.25
"""The budget of the rows that vary something else."""
LAYERS, RATIOS = (3, 5, 7, 8, 9), (0.3, 0.5, 0.7)
FASTV_LAYERS = (2, 9)
"""Its default, and where DyCoke prunes in the bundled model."""
WINDOWS = (2, 4, 8)
FRAMES = (8, 16, 32, 64)
PLUS_RATIOS = (0.7, 0.85, 0.9, 0.95)
# Of more frames the baseline's prompt doesn't fit the bundled model's context of 2,048 tokens.
PLUS_FRAMES = (8, 16, 32, 64, 112)
FIRST_STAGES = {"dycoke-plus": "coverage"}
"""Of a method with a budget that prunes in decode, too: what is on equal terms with the others."""
OWN = ("coverage", "dycoke-plus")
"""What other rows are compared with: the first of these that has a row at their budget."""
POSITIONS = ("kept", "renumbered")
STAGES = ("llm", "vision")
_PAIRED = {"positions=kept": "positions=renumbered", "merge_stage=llm": "merge_stage=vision"}
"""Rows that differ in this alone are put side by side."""
CONTROLS = ["no-video", "one-frame"]
_ABSENT = re.compile(r"(?:No,? |There is no )")
_WITH_ABSENT = ("existence", "needle")
"""Kinds of questions about things, of which some are there and some aren't."""


@dataclass(frozen=True)
class Run:
    """Rows that are asked together.

    Args:
        name: of its JSON file.
        specs: the rows, the baseline first.
        frames: of each video; None is the default.
        videos: of the split; None for as many as the command says.
    """

    name: str
    specs: list[str]
    frames: int | None = None
    videos: int | None = None


def _at(name: str, **parameters: object) -> str:
    """A row of a method with these parameters, as far as it has them."""
    method = METHODS.get(name)
    known = parameters_of(method) if method else {}
    given = (f"{k}={v}" for k, v in parameters.items() if method is None or k in known)
    return ":".join([name, *given])


def budgets() -> list[Run]:
    """Every method of the registry at each budget, those without one as they are."""
    rows = ["none", *CONTROLS]
    for name in METHODS:
        if "retain" in parameters_of(METHODS[name]):
            row = FIRST_STAGES.get(name, name)
            rows += [f"{row}:retain={retain}:positions=kept" for retain in BUDGETS]
        elif name != "none":
            rows.append(_at(name, positions="kept"))
    return [Run("budgets", rows)]


def positions() -> list[Run]:
    """Every method that drops before the language model, at both kinds of positions."""
    having = [name for name, method in METHODS.items() if "positions" in parameters_of(method)]
    rows = [_at(name, retain=AT, positions=one) for name in having for one in POSITIONS]
    return [Run("positions", ["none", *rows], videos=FEW)]


def layers() -> list[Run]:
    """DyCoke by its first pruned layer and the fraction pruned; FastV at two layers."""
    rows = [
        f"dycoke:prune_layer={layer}:prune_ratio={ratio}:positions=kept"
        for layer in LAYERS
        for ratio in RATIOS
    ]
    return [Run("layers", ["none", *rows, *(f"fastv:prune_layer={n}" for n in FASTV_LAYERS)])]


def windows() -> list[Run]:
    """TTM and DyCoke by the number of frames that are compared."""
    rows = [f"{name}:window={n}:positions=kept" for name in ("ttm", "dycoke") for n in WINDOWS]
    return [Run("windows", ["none", *rows], videos=FEW)]


def frames() -> list[Run]:
    """DyCoke, its first stage and a control by the number of frames shown."""
    rows = [
        "none",
        "dycoke:prune_layer=9:positions=kept",
        "ttm:positions=kept",
        f"random:retain={AT}:positions=kept",
    ]
    return [Run(f"frames-{count}", rows, count, FEW) for count in FRAMES]


def plus() -> list[Run]:
    """dycoke-plus: each stage alone, both together, and its options."""
    rows = ["none"]
    rows += [f"coverage:retain={retain}:positions=kept" for retain in BUDGETS]
    rows += [f"coverage:retain={retain}:positions=kept:merge_dropped=false" for retain in BUDGETS]
    rows += [f"coverage:retain={r}:positions=renumbered" for r in (0.25, 0.1)]
    # By default only videos of more tokens than these are pruned in decode.
    rows += [f"kv-own:prune_ratio={ratio}" for ratio in PLUS_RATIOS]
    rows += [f"kv-own:prune_ratio={PLUS_RATIOS[-2]}:per_head=true"]
    rows += [
        f"dycoke-plus:retain={retain}:prune_ratio={ratio}:prune_from=0:positions=kept"
        for retain in (0.25, 0.1)
        for ratio in PLUS_RATIOS
    ]
    return [Run("plus", rows)]


def plus_frames() -> list[Run]:
    """dycoke-plus and DyCoke by the number of frames shown."""
    rows = ["none", *(f"dycoke-plus:retain={r}:positions=kept" for r in (0.25, 0.1))]
    rows += ["dycoke:positions=kept"]
    return [Run(f"plus-frames-{n}", rows, n, FEW) for n in PLUS_FRAMES]


def vision() -> list[Run]:
    """Every method that can merge inside the vision tower: there, and behind it alone."""
    rows = [_at("ttm", positions="kept", merge_stage=stage) for stage in STAGES]
    for name in METHODS:
        if {"retain", "merge_stage"} <= set(parameters_of(METHODS[name])):
            row = FIRST_STAGES.get(name, name)
            rows += [
                _at(row, retain=retain, positions="kept", merge_stage=stage)
                for retain in (0.25, 0.1)
                for stage in STAGES
            ]
    return [Run("vision", ["none", *rows], videos=FEW)]


def whole() -> list[Run]:
    """The project's methods as a user gets them, and the strongest beside them."""
    rows = ["none", "dycoke", "dycoke:prune_layer=3"]
    rows += [
        f"{name}:retain={r}" for r in (0.25, 0.1) for name in ("dycoke-plus", "flashvid", "evs")
    ]
    return [Run("whole", [*rows, f"random:retain={AT}"], videos=WHOLE)]


TABLES: dict[str, Callable[[], list[Run]]] = {
    table.__name__: table
    for table in (budgets, positions, layers, windows, frames, plus, plus_frames, vision, whole)
}


def specs_of(run: Run) -> list[Spec]:
    """Its rows; those that the model can't serve are left out."""
    return [replace(spec, if_possible=True) for spec in parse_specs(",".join(run.specs))]


def is_absent(item: Item) -> bool:
    """Whether a question is about something that isn't in the video."""
    return _ABSENT.match(item.answer) is not None


_MEASURES: dict[str, Callable[[Item], bool]] = {
    "absent": is_absent,
    "present": lambda item: item.kind in _WITH_ABSENT and not is_absent(item),
}


def right(prediction: Prediction) -> float:
    """1 where an answer is correct."""
    return float(prediction.right)


def more_of(
    items: Sequence[Item], said: Predictions, baseline: Predictions | None
) -> dict[str, Any]:
    """What the table has of a row beside what `dycoke eval` counts.

    Args:
        items: the questions.
        said: their answers.
        baseline: the answers of the baseline; None where this is it.
    """
    more: dict[str, Any] = {}
    for name, belongs in _MEASURES.items():
        some = [item for item in items if belongs(item)]
        more[name] = asdict(mean_of(right, some, said, baseline)) if some else None
    # Later questions about a video reuse what the first one prefilled.
    prefills: list[float | None] = []
    for of_video in grouped(items, lambda item: item.video).values():
        seconds = [said[item.id].seconds_prefill for item in of_video]
        known = [one for one in seconds if one is not None]
        prefills.append(max(known) if len(known) == len(seconds) else None)
    more["seconds_whole_prefill"] = known_mean(prefills)
    return more


def pairs_of(rows: Mapping[str, Predictions], items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Rows that differ in one parameter: the mean of the other row, and its paired difference.

    Args:
        rows: answers by the text of their row.
        items: the questions.

    Returns:
        By the first row of each pair (`_PAIRED`), where there are both.
    """
    pairs = {}
    for text, first in rows.items():
        for one, other in _PAIRED.items():
            second = text.replace(one, other)
            if second != text and second in rows:
                pairs[text] = asdict(mean_of(right, items, rows[second], first))
    return pairs


def ahead_of(rows: Mapping[str, Predictions], items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """The project's own method against every other row at its budget, paired.

    Args:
        rows: answers by the text of their row.
        items: the questions.

    Returns:
        By the other row; empty where the own method (`OWN`) isn't among the rows.
    """
    ahead = {}
    for text, said in rows.items():
        name = text.partition(":")[0]
        own = (text.replace(name, own, 1) for own in OWN)
        first = next((one for one in own if one in rows), None)
        if ":retain=" in text and name not in OWN and first is not None:
            ahead[text] = asdict(mean_of(right, items, rows[first], said))
    return ahead


def document_of(evaluation: Evaluation, report: Report, name: str) -> dict[str, Any]:
    """What is written of a run: its report, and what else the tables have.

    Args:
        evaluation: what was asked; its journal has all answers.
        report: what `dycoke eval` made of it.
        name: of the model in tables.
    """
    items = evaluation.dataset.items(evaluation.split, evaluation.limit_videos)
    lines, _ = lines_of(evaluation, choose(evaluation.request.model, evaluation.request.loading))
    with open_journal(evaluation.folder) as journal:
        rows = {line.spec.text: journal.predictions(line.setup) for line in lines}
    baseline = rows["none"]
    return {
        "name": name,
        "machine": machine(),
        "report": to_dict(report),
        "more": {
            text: more_of(items, said, None if text == "none" else baseline)
            for text, said in rows.items()
        },
        "pairs": pairs_of(rows, items),
        "ahead": ahead_of(rows, items),
    }


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write a file, whole or not at all."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(document, indent=1), encoding="utf-8")
    os.replace(beside, path)


def measure(run: Run, arguments: argparse.Namespace) -> None:
    """Ask what isn't answered yet, and write the run's JSON file."""
    folder = arguments.out / arguments.name
    loading = replace(BUNDLED.loading, dtype=arguments.dtype)
    request = replace(BUNDLED, model=arguments.model, loading=loading)
    if run.frames is not None:
        request = replace(request, sampling=replace(request.sampling, frames=run.frames))
    evaluation = Evaluation(
        open_dataset("shapes"),
        specs_of(run),
        request=request,
        split=arguments.split,
        limit_videos=run.videos or arguments.videos,
        out=folder,
        workers=arguments.workers,
    )
    print(f"{arguments.name}, {run.name}: {len(run.specs)} rows", file=sys.stderr)
    with Shown(quiet=False) as shown:
        report = evaluate(evaluation, shown)
    write_json(document_of(evaluation, report, arguments.name), folder / f"{run.name}.json")


def main() -> None:
    """Ask, or make tables of what was answered."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    parser.add_argument("--model", default=BUNDLED.model, help="another checkpoint folder")
    parser.add_argument("--name", default="shipped", help="of the model in tables (shipped)")
    quick = [table for table in TABLES if table != "whole"]
    tables = f"of {', '.join(TABLES)} (all but whole, which takes hours)"
    parser.add_argument("--tables", default=",".join(quick), help=tables)
    parser.add_argument("--dtype", default=DTYPE, help=f"of the weights ({DTYPE})")
    parser.add_argument("--videos", type=int, default=VIDEOS, help=f"of the split ({VIDEOS})")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--workers", type=int, help="processes (as many as suit the machine)")
    parser.add_argument("--report", metavar="NAME,…", help="make tables of these models' answers")
    parser.add_argument("--write", action="store_true", help="with --report: into the pages")
    arguments = parser.parse_args()
    chosen = arguments.tables.split(",")
    if unknown := [table for table in chosen if table not in TABLES]:
        parser.error(f"there is no table {unknown[0]!r} (there are {', '.join(TABLES)})")
    if arguments.write and not arguments.report:
        parser.error("--write is for --report")
    try:
        if arguments.report:
            write_pages(arguments.out, arguments.report.split(","), arguments.write)
            return
        for run in [run for table in chosen for run in TABLES[table]()]:
            measure(run, arguments)
    except DycokeError as error:
        raise SystemExit(f"Error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
