"""The fair tables of methods: all of the registry on `shapes`, at the same budgets.

`python -m benchmarks.methods --out FOLDER` asks what isn't answered yet (an interrupted run
resumes), and writes the answers into `docs/data` (`raw_answers`). `--model` and `--name` measure
another checkpoint of that world beside the shipped one: first what is chosen for it on the
validation split (`method_choice`), then the rows asked of all videos, then the rest. `--tables`
asks only some of the tables, `--export` writes what an interrupted run has: the videos of which all
rows are answered.
`--add` asks the rows of new methods, which a table's file lacks, about its videos.
`--report` makes tables and pictures of `docs/data`, without a model; `--write` puts them into the
pages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from benchmarks import method_choice, shapes
from benchmarks.method_choice import chosen, with_setting
from benchmarks.method_pages import write_tables
from benchmarks.page import machine
from benchmarks.raw_answers import BASELINE, DATA, SUFFIX, Header, RawAnswers, RawRow, read_answers
from dycoke_cli.cli.render.view import View
from dycoke_cli.compression.registry import METHODS, Spec, parse_specs
from dycoke_cli.errors import DycokeError
from dycoke_cli.evaluation.dataset import Split
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.eval_request import BUNDLED, Evaluation
from dycoke_cli.evaluation.eval_run import evaluate
from dycoke_cli.evaluation.method_row import kept_rows
from dycoke_cli.evaluation.prediction import FILE, Answers
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.models.resolve import resolve_model
from dycoke_cli.param import parameters_of

OUT = Path("runs/methods")
VIDEOS, WHOLE, FEW = 60, 600, 30
"""Videos of the main tables, of the whole test split, and of tables that vary a detail."""
DTYPE = "float32"
"""Faster than bfloat16 on CPUs without instructions for it, and the same on all of them."""
BUDGETS = (0.25, 0.1)
AT = 0.25
"""The budget of the rows that vary something else."""
LAYERS, RATIOS = (3, 5, 7, 8, 9), (0.3, 0.5, 0.7)
FASTV_LAYERS = (2, 9)
"""Its default, and where DyCoke prunes in the bundled model."""
WINDOWS = (2, 4, 8)
FRAMES = (8, 16, 32, 64)
# Of more frames the baseline's prompt doesn't fit the bundled model's context of 2,048 tokens.
PLUS_FRAMES = (8, 16, 32, 64, 112)
POSITIONS = ("kept", "renumbered")
STAGES = ("llm", "vision")
CONTROLS = ["no-video", "one-frame"]
NEAREST = tuple(f"{name}:merge_dropped=true" for name in ("uniform-spatial", "dpp", "maxmin"))
"""Of the other methods with merging added, those nearest to dycoke-plus."""
UNDECIDED = (
    "evs:merge_dropped=true",
    "vidcom2:merge_dropped=true",
    "v-cast:merge_dropped=true",
    "prumerge",
    "flashvid",
    "fastvid",
    "earlytom",
)
"""Other methods with merging, not in `whole`, that `fair`'s 60 videos can't distinguish from
dycoke-plus at a quarter: its lead is below two standard errors."""
OTHER_MODELS = ("knows", "choice", "whole", "fair", "near", "int8", "budgets", "positions")
"""The tables of another checkpoint, the rows asked of all videos first."""


NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class NothingAnsweredError(Exception):
    """A run has no video of which all rows are answered."""


@dataclass(frozen=True)
class Run:
    """Rows that are asked together."""

    name: str  # of its JSON file
    specs: list[str]  # the rows, the baseline first
    frames: int | None = None  # of each video; None is the default
    videos: int | None = None  # of the split; None for as many as the command says
    split: Split = "test"  # of the benchmark
    quantize: str | None = None  # the model's linear layers, as of `ask`


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
            rows += [f"{name}:retain={retain}:positions=kept" for retain in BUDGETS]
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
    """dycoke-plus, also with contiguous positions."""
    rows = ["none", f"dycoke-plus:retain={AT}", f"dycoke-plus:retain={AT}:positions=renumbered"]
    return [Run("plus", rows, videos=FEW)]


def plus_frames() -> list[Run]:
    """dycoke-plus and DyCoke by the number of frames shown."""
    rows = ["none", *(f"dycoke-plus:retain={r}:positions=kept" for r in BUDGETS)]
    rows += ["dycoke:positions=kept"]
    return [Run(f"plus-frames-{n}", rows, n, FEW) for n in PLUS_FRAMES]


def vision() -> list[Run]:
    """Every method that can merge inside the vision tower: there, and behind it alone."""
    rows = [_at("ttm", positions="kept", merge_stage=stage) for stage in STAGES]
    for name in METHODS:
        if {"retain", "merge_stage"} <= set(parameters_of(METHODS[name])):
            rows += [
                _at(name, retain=retain, positions="kept", merge_stage=stage)
                for retain in BUDGETS
                for stage in STAGES
            ]
    return [Run("vision", ["none", *rows], videos=FEW)]


def int8() -> list[Run]:
    """What the speed table's fastest rows do together: merging before vision, and int8."""
    merged = (_at(name, retain=AT, merge_stage="vision") for name in ("dycoke", "dycoke-plus"))
    rows = ["none", *merged]
    return [Run("merged", rows), Run("merged-int8", rows, quantize="int8")]


def knows() -> list[Run]:
    """The baseline, which decides whether the model comes first in the tables.

    On the validation split, so that the test split decides nothing.
    """
    return [Run("knows", ["none"], videos=VIDEOS, split="validation")]


def choice() -> list[Run]:
    """The candidates of each method, on the validation split."""
    return [Run(method_choice.TABLE, method_choice.rows(), videos=VIDEOS, split="validation")]


def whole(settings: Mapping[str, str] = NO_SETTINGS) -> list[Run]:
    """The project's methods as a user gets them, and the strongest beside them."""
    names = [with_setting(name, settings) for name in ("dycoke-plus", "flashvid")]
    names += NEAREST
    names += ["evs", "downsample"]
    rows = [f"{name}:retain={r}" for r in BUDGETS for name in names]
    layers = [with_setting("dycoke", settings), "dycoke:prune_layer=3"]
    return [Run("whole", ["none", *layers, *rows, f"random:retain={AT}"], videos=WHOLE)]


def fair(settings: Mapping[str, str] = NO_SETTINGS) -> list[Run]:
    """Every method with a budget: alone, with merging, and with what was chosen for the model."""
    named = [with_setting("dycoke-plus", settings), "dycoke-plus"]
    for name, method in METHODS.items():
        if name != "dycoke-plus" and "retain" in parameters_of(method):
            named += [name, with_setting(name, settings)]
    named += ["cdpruner:relevance_weight=0.5", "dpp"]
    rows = [
        f"{name}{merging}:retain={retain}"
        for retain in BUDGETS
        for name in dict.fromkeys(named)
        for merging in ("", *_other_merging(name.partition(":")[0]))
    ]
    return [Run("fair", ["none", *rows])]


def near() -> list[Run]:
    """Those of `fair` that its videos don't tell from dycoke-plus at a quarter, on all videos."""
    rows = ["dycoke-plus", *UNDECIDED]
    return [Run("near", ["none", *(f"{row}:retain={AT}" for row in rows)], videos=WHOLE)]


def _other_merging(name: str) -> tuple[str, ...]:
    """What turns a method's merging to what it isn't by default."""
    if name == "dpp":
        name = "cdpruner"
    merging = parameters_of(METHODS[name]).get("merge_dropped")
    return () if merging is None else (f":merge_dropped={str(not merging.default).lower()}",)


def validation() -> list[Run]:
    """dycoke-plus, with merging and without, on the videos that its rule was developed on."""
    names = ["dycoke-plus", "dycoke-plus:merge_dropped=false", "flashvid"]
    rows = [f"{name}:retain={retain}" for retain in BUDGETS for name in names]
    return [Run("validation", ["none", *rows], videos=FEW, split="validation")]


def larger() -> list[Run]:
    """Few frames, for a checkpoint with more tokens per frame."""
    rows = [f"{name}:retain={r}" for r in BUDGETS for name in ("dycoke-plus", "flashvid")]
    return [Run("larger", ["none", *rows], 8, FEW, "validation")]


def seeds() -> list[Run]:
    """The rows of the project's methods and their controls, to be asked of several models.

    They are trained alike but for the seed: what lies between them is the error that one model's
    questions don't show.
    """
    budgeted = ("dycoke-plus", NEAREST[0], "uniform-frames")
    rows = ["none", "dycoke:prune_layer=3", "dycoke:prune_layer=9", "ttm"]
    rows += [f"{name}:retain={retain}" for retain in BUDGETS for name in budgeted]
    return [Run("seeds", [*rows, f"evs:retain={AT}", f"random:retain={AT}"])]


def kinds() -> list[Run]:
    """DyCoke's stages at several budgets, by kind of question and of video."""
    return [Run("kinds", shapes.specs())]


TABLES: dict[str, Callable[[], list[Run]]] = {
    table.__name__: table
    for table in (
        budgets,
        positions,
        layers,
        windows,
        frames,
        plus,
        plus_frames,
        vision,
        kinds,
        validation,
        larger,
        int8,
        knows,
        choice,
        whole,
        fair,
        near,
        seeds,
    )
}


def runs_of(table: str, arguments: argparse.Namespace) -> list[Run]:
    """The runs of a table, with what was chosen for the model."""
    of_model = {one.__name__: one for one in (whole, fair)}
    if table in of_model:
        return of_model[table](chosen(arguments.data, arguments.name))
    return TABLES[table]()


def specs_of(run: Run) -> list[Spec]:
    """Its rows; those that the model can't serve are left out."""
    return [replace(spec, if_possible=True) for spec in parse_specs(",".join(run.specs))]


def evaluation_of(run: Run, arguments: argparse.Namespace) -> Evaluation:
    """What is asked of a run."""
    loading = replace(BUNDLED.loading, dtype=arguments.dtype, quantize=run.quantize)
    request = replace(BUNDLED, model=arguments.model, loading=loading)
    if run.frames is not None:
        request = replace(request, sampling=replace(request.sampling, frames=run.frames))
    return Evaluation(
        open_dataset("shapes"),
        specs_of(run),
        request=request,
        split=run.split,
        limit_videos=run.videos or arguments.videos,
        out=arguments.out / arguments.name,
        workers=arguments.workers,
    )


def ask(run: Run, arguments: argparse.Namespace) -> None:
    """Ask what isn't answered yet."""
    print(f"{arguments.name}, {run.name}: {len(run.specs)} rows", file=sys.stderr)
    with View(quiet=False) as view:
        evaluate(evaluation_of(run, arguments), view)


def export(run: Run, arguments: argparse.Namespace) -> RawAnswers:
    """The answers of a run that may have been interrupted: of the videos that all rows answered."""
    evaluation = evaluation_of(run, arguments)
    chosen = resolve_model(arguments.model, evaluation.request.loading)
    kept, _ = kept_rows(evaluation, chosen)
    journal = Answers(evaluation.folder / FILE)
    rows = {row.spec.text: journal.predictions(row.setup) for row in kept}
    videos = grouped(
        evaluation.dataset.items(evaluation.split, evaluation.limit_videos),
        lambda item: item.video,
    )
    whole = (
        items
        for items in videos.values()
        if all(item.id in said for item in items for said in rows.values())
    )
    ids = [item.id for items in whole for item in items]
    if not ids:
        raise NothingAnsweredError(
            f"{journal.path} has no video of which {run.name} has all answers"
        )
    setups = [row.setup for row in kept]
    header = Header(
        table=run.name,
        name=arguments.name,
        model=setups[0].model,
        benchmark=evaluation.dataset.name,
        edition=setups[0].edition,
        split=evaluation.split,
        frames=evaluation.frames,
        commits=tuple(sorted(journal.commits(setups))),
        machine=machine(),
        date=str(datetime.fromtimestamp(journal.path.stat().st_mtime, UTC).date()),
        rows=tuple(
            RawRow(row.spec.text, row.spec.name, dict(row.parameters), row.setup.frames)
            for row in kept
        ),
    )
    return RawAnswers(header, {text: {i: said[i] for i in ids} for text, said in rows.items()})


def known_of(run: Run, arguments: argparse.Namespace) -> RawAnswers:
    """The answers of a table's file."""
    path: Path = arguments.data / arguments.name / f"{run.name}{SUFFIX}"
    if not path.is_file():
        raise DycokeError(f"{path} isn't there to be added to; ask the table without --add")
    return read_answers(path)


def lacking(run: Run, known: RawAnswers, names: Collection[str]) -> Run:
    """The baseline and the rows that a table's file lacks, of some methods and its videos."""
    has = {item.video for item in known.items}
    videos = dict.fromkeys(item.video for item in open_dataset("shapes").items(run.split, None))
    last = max(number for number, video in enumerate(videos, 1) if video in has)
    new = [spec for spec in run.specs if spec.partition(":")[0] in names]
    new = [spec for spec in new if spec not in known.answers]
    return replace(run, specs=[BASELINE, *new], videos=last)


def add(known: RawAnswers, raw: RawAnswers) -> RawAnswers:
    """Rows of a new asking beside those of a table's file; says how the baseline compares."""
    before, now = (one.answers[BASELINE] for one in (known, raw))
    same = sum(now[item].said == said.said for item, said in before.items())
    print(f"of {len(before)} answers the baseline gave {same} as before", file=sys.stderr)
    return known.with_rows(raw)


def main() -> None:
    """Ask, or make tables of what was answered."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    parser.add_argument("--model", default=BUNDLED.model, help="another checkpoint folder")
    parser.add_argument("--name", default="shipped", help="of the model in tables (shipped)")
    others = ("whole", "larger", "knows", "choice", "fair", "near", "seeds")
    quick = [one for one in TABLES if one not in others]
    tables = f"of {', '.join(TABLES)} (shipped: {','.join(quick)}; else {','.join(OTHER_MODELS)})"
    parser.add_argument("--tables", help=tables)
    parser.add_argument("--dtype", default=DTYPE, help=f"of the weights ({DTYPE})")
    parser.add_argument("--videos", type=int, default=VIDEOS, help=f"of the split ({VIDEOS})")
    parser.add_argument("--workers", type=int, help="processes (as many as suit the machine)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of exported answers")
    parser.add_argument(
        "--export", action="store_true", help="ask nothing; copy answers of --out into --data"
    )
    parser.add_argument(
        "--add", metavar="METHODS", help="ask rows of these that a table lacks, and add them"
    )
    parser.add_argument("--report", action="store_true", help="make the tables of --data")
    parser.add_argument("--write", action="store_true", help="with --report: into the pages")
    arguments = parser.parse_args()
    given = arguments.tables.split(",") if arguments.tables else None
    wanted = given or (quick if arguments.name == "shipped" else OTHER_MODELS)
    if unknown := [table for table in wanted if table not in TABLES]:
        parser.error(f"there is no table {unknown[0]!r} (there are {', '.join(TABLES)})")
    if arguments.write and not arguments.report:
        parser.error("--write is for --report")
    try:
        if arguments.report:
            write_tables(arguments.data, arguments.write)
            return
        for table in wanted:
            # What an earlier table chose is known by now.
            for run in runs_of(table, arguments):
                known = known_of(run, arguments) if arguments.add else None
                asked = run if known is None else lacking(run, known, arguments.add.split(","))
                if not arguments.export:
                    ask(asked, arguments)
                try:
                    raw = export(asked, arguments)
                    path = (raw if known is None else add(known, raw)).write(arguments.data)
                except NothingAnsweredError as nothing:
                    print(nothing, file=sys.stderr)
                else:
                    print(f"wrote {path}", file=sys.stderr)
    except DycokeError as error:
        raise SystemExit(f"Error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
