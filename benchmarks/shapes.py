"""The tables of the benchmark `shapes`: what each method keeps of the bundled model's answers.

`python -m benchmarks.shapes --quick` asks about 60 videos (minutes), without it about all 600
(hours; it goes on where it was stopped). `--write` puts the tables into README.md and
docs/shapes.md. `--model FOLDER` prints them of another checkpoint of that world.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from benchmarks.page import ROOT, put, where
from dycoke_cli.cli.eval import Shown
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.lines import BUNDLED, Evaluation
from dycoke_cli.evaluation.report import Report
from dycoke_cli.evaluation.rows import Accuracy, PartMean, Row
from dycoke_cli.evaluation.runner import evaluate
from dycoke_cli.evaluation.specs import parse_specs

QUICK_VIDEOS = 60
BUDGETS = (0.3, 0.5, 0.7)
PRUNE_LAYERS = (3, 6)
"""The paper's, and one in the middle, beside the bundled model's own."""
FASTV_LAYERS = (2, 9)
"""Its default, and where DyCoke prunes in the bundled model."""
POSITIONS = ("kept", "renumbered")
CONTROLS = ("none", "no-video", "one-frame", "kv")
RETENTION = ("retention at prefill", "at decode", "in pruned layers")
LABELS = ("static", "mixed", "dynamic")
KINDS = ("order", "letter", "needle", "action")
NAMES = {
    "none": "baseline", "no-video": "blind (text only)", "one-frame": "single frame",
    "ttm": "TTM only",
    "kv": "KV pruning only", "dycoke": "DyCoke", "dycoke-once": "DyCoke, no recall",
    "random": "random + KV pruning", "fastv": "FastV",
}  # fmt: skip


def specs(budgets: tuple[float, ...] = BUDGETS) -> list[str]:
    """The rows: controls, then each method at each budget, FastV and random at the same share."""
    rows = list(CONTROLS)
    for ratio in budgets:
        for name in ("ttm", "dycoke", "dycoke-once", "random"):
            budget = f"{name}:merge_ratio={ratio}"
            rows += [f"{budget}:positions={positions}" for positions in POSITIONS]
        rows += [
            f"fastv:prune_ratio={0.75 * ratio:g}:prune_layer={layer}" for layer in FASTV_LAYERS
        ]
    rows += [f"dycoke:merge_ratio={budgets[-1]}:prune_layer={layer}" for layer in PRUNE_LAYERS]
    return rows


def full_table(report: Report) -> str:
    """Every row, with accuracy by label and some kinds."""
    moved = ["changed", "wrong→right", "right→wrong"]
    head = ["method", "K", "L", "positions", *RETENTION, "all", *LABELS, *KINDS]
    head += ["told in order", *moved]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in report.rows:
        counts = ("", "", "") if row.changed is None else (row.changed, row.fixed, row.broken)
        lines.append(
            _line(
                [
                    NAMES[row.method],
                    _budget(row),
                    _layer(row),
                    _positions(row),
                    *_retention(row),
                    _with_difference(row),
                    *(_accuracy(row.by_label.get(label)) for label in LABELS),
                    *(_accuracy(row.by_type.get(kind)) for kind in KINDS),
                    _part(row.by_part.get("ordered")),
                    *map(str, counts),
                ]
            )
        )
    return "\n".join(lines)


def short_table(report: Report) -> str:
    """The rows at the largest budget, positions as the model has them by default."""
    head = ["", "L", *RETENTION, "correct, %", *LABELS, "wrong→right / right→wrong"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in report.rows:
        if row.method not in CONTROLS and (_budget(row) not in ("", f"{BUDGETS[-1]:g}")):
            continue
        if _positions(row) == "renumbered" and row.method != "dycoke":
            continue
        name = NAMES[row.method]
        if _positions(row) == "renumbered":
            name += ", contiguous positions"
        moved = "" if row.changed is None else f"{row.fixed} / {row.broken}"
        lines.append(
            _line(
                [
                    name,
                    _layer(row),
                    *_retention(row),
                    _with_difference(row),
                    *(_with_difference(row.by_label[label]) for label in LABELS),
                    moved,
                ]
            )
        )
    return "\n".join(lines)


def _budget(row: Row) -> str:
    if row.method == "fastv":
        return f"{row.parameters['prune_ratio'] / 0.75:g}"
    if row.parameters.get("ttm", True) and "merge_ratio" in row.parameters:
        return f"{row.parameters['merge_ratio']:g}"
    return ""


def _layer(row: Row) -> str:
    if not row.parameters.get("kv_prune", True):
        return ""
    return str(row.parameters.get("prune_layer", ""))


def _retention(row: Row) -> list[str]:
    pruned = row.kept_in_pruned_layers if _layer(row) else None
    return [_percent(share) for share in (row.kept_before_llm, row.kept_in_decode, pruned)]


def _positions(row: Row) -> str:
    return str(row.parameters["positions"]) if _budget(row) and row.method != "fastv" else ""


def _with_difference(mean: Accuracy | Row) -> str:
    if mean.difference is None or mean.difference_error is None:
        return _accuracy(mean)
    error = 100 * mean.difference_error
    return f"{_accuracy(mean)} ({100 * mean.difference:+.1f} ± {error:.1f})"


def _accuracy(mean: Accuracy | Row | None) -> str:
    return "" if mean is None else f"{100 * mean.accuracy:.1f}"


def _part(mean: PartMean | None) -> str:
    return "" if mean is None else f"{100 * mean.mean:.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Ask, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_VIDEOS} videos of the 600")
    parser.add_argument(
        "--budget", type=float, action="append", help="K, in place of .3, .5 and .7"
    )
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--model", default=BUNDLED.model, help="another checkpoint folder")
    parser.add_argument("--write", action="store_true", help="into README.md and docs/shapes.md")
    arguments = parser.parse_args()
    if arguments.write and arguments.model != BUNDLED.model:
        parser.error("--write is for the bundled model: leave out --model, or --write")
    evaluation = Evaluation(
        open_dataset("shapes"),
        parse_specs(",".join(specs(tuple(arguments.budget or BUDGETS)))),
        request=replace(BUNDLED, model=arguments.model),
        split=arguments.split,
        limit_videos=QUICK_VIDEOS if arguments.quick else None,
    )
    started = time.perf_counter()
    with Shown(quiet=False) as shown:
        report = evaluate(evaluation, shown)
    minutes = (time.perf_counter() - started) / 60
    questions = report.rows[0].questions
    under = (
        f"{report.videos} videos, {questions} questions each row, {report.split} split, "
        f"{report.frames} frames. Retention at decode is the mean over layers and steps; L is the "
        f"first pruned layer of the model's ten. In parentheses the difference from the baseline, "
        f"± one standard error, paired and clustered by video. {minutes:.0f} minutes. {where()}"
    )
    tables = {
        ROOT / "README.md": f"{short_table(report)}\n\n{under}",
        ROOT / "docs" / "shapes.md": f"{full_table(report)}\n\n{under}",
    }
    for page, table in tables.items():
        print(f"\n{table}")
        if arguments.write:
            put(table, "shapes", page)


if __name__ == "__main__":
    main()
