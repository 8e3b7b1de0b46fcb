"""A guard on typed answers and on words: both signals, on the same questions of `shapes`.

Questions with letters, and those that yes or no answers, are asked with options under each budget
of the guards; `benchmarks.tune` asked them in words. Without flags, what isn't
answered yet is asked (an interrupted run resumes), and `docs/data/guard-choices.jsonl.xz` written.
`--report` makes the table of it, and `--write` keeps it as CSV.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.kept_tables import keep
from benchmarks.page import machine
from benchmarks.raw_answers import DATA
from benchmarks.tune import DTYPE, GUARDED, LADDERS
from benchmarks.tune_tables import MODELS, Asked, Videos, auroc, file_of, guards_of
from dycoke_cli.answer.json_reader import from_dict
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.method_specs import parse_specs
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.runs.journal import open_journal
from dycoke_cli.tuning.observations import FILE, Observation, TuneJournal, key_of
from dycoke_cli.version import running_commit

NAME = "guard-choices"
KEPT = DATA / f"{NAME}.jsonl.xz"
OUT = Path("runs") / NAME
SIGNALS = {
    "words": ("least_probability", "words: smallest probability of a token"),
    "options": ("least_margin", "options: margin"),
}
"""By the way of asking: the signal of the guard, and its title."""
ALPHA, SIZE = 0.05, 80
VIDEOS: dict[Split, int] = {"validation": 105, "test": 19}
"""The first of those that `benchmarks.tune` asked about."""


def questions(split: Split) -> dict[str, list[Item]]:
    """The questions of a split that have options, by video."""
    items = open_dataset("shapes").items(split)
    kept = [item for item in items if not item.history and options_of(item)]
    return grouped(kept, lambda item: item.video)


def options_of(item: Item) -> tuple[str, ...]:
    """The options of a question: its letters, or yes and no; none for all others."""
    return ("yes", "no") if item.kind == "existence" else item.letters


def ask(out: Path) -> None:
    """Ask what isn't answered yet."""
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import load
    from dycoke_cli.tuning.measuring_choices import BaselineChoices
    from dycoke_cli.video import read

    loaded = load(BUNDLED.model, **asdict(replace(BUNDLED.loading, dtype=DTYPE)))
    dataset, specs = open_dataset("shapes"), parse_specs(",".join(GUARDED))
    with open_journal(TuneJournal, out / FILE) as journal:
        left = (i for i in asked_items() if not all(journal.get(key_of(one)) for one in _keys(i)))
        session, shown = None, ""
        for item in left:
            if session is None or item.video != shown:
                print(item.video, file=sys.stderr)
                clip = read(str(dataset.file(item.video)), BUNDLED.sampling)
                session, shown = VideoSession(loaded, clip), item.video
            typed = replace(BUNDLED.generation, typed=TypedOptions(options_of(item)))
            base = BaselineChoices(session, [item.question], typed)
            for spec in specs:
                found = base.observations if spec.is_baseline else base.compare(spec.create())
                journal.add(key_of({"item": item.id, "by": "options", "row": spec.text}), found)


def asked_items() -> Iterator[Item]:
    """All questions."""
    for split, videos in VIDEOS.items():
        for items in islice(questions(split).values(), videos):
            yield from items


def _keys(item: Item) -> list[dict[str, str]]:
    return [{"item": item.id, "by": "options", "row": row} for row in GUARDED]


def export(out: Path) -> None:
    """Write the answers to all questions that were asked under each budget."""
    journal = TuneJournal(out / FILE)
    lines: list[dict[str, Any]] = [{"commit": running_commit(), "machine": machine()}]
    for item in asked_items():
        found = [(each, journal.get(key_of(each))) for each in _keys(item)]
        if all(observations for _, observations in found):
            for about, observations in found:
                assert observations is not None
                line = to_dict(observations[0])
                kept = {key: value for key, value in line.items() if key != "question"}
                lines.append({"item": about["item"], "row": about["row"], **kept})
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    KEPT.write_bytes(lzma.compress(content.encode(), preset=9 | lzma.PRESET_EXTREME))


def read_kept(path: Path = KEPT) -> tuple[Mapping[str, Any], Mapping[str, Mapping[Split, Videos]]]:
    """The header, and the answers by way of asking and split.

    The field `least_probability` of a certainty is the signal of its way of asking.
    """
    items = {item.id: item for item in asked_items()}
    with lzma.open(path, "rt") as file:
        header, *lines = map(json.loads, file)
    known = {line["item"] for line in lines}
    found: Any = {
        by: {split: defaultdict(lambda: defaultdict(list)) for split in VIDEOS} for by in SIGNALS
    }
    for split in VIDEOS:
        of_split = {item.id for item in open_dataset("shapes").items(split)} & known
        with lzma.open(file_of(DATA, "shipped", split), "rt", encoding="utf-8") as file:
            next(file)
            words = [line for line in map(json.loads, file) if line["row"] in GUARDED]
        for by, every in (("words", words), ("options", lines)):
            for line in every:
                if line["item"] in of_split:
                    asked = _asked(items[line["item"]], by, line)
                    found[by][split][items[line["item"]].video][line["row"]].append(asked)
    return header, found


def _asked(item: Item, by: str, line: Mapping[str, Any]) -> Asked:
    fields = {key: value for key, value in line.items() if key not in ("video", "item", "row")}
    one: Observation = from_dict(Observation, fields | {"question": item.question})
    signal = getattr(one.certainty, SIGNALS[by][0])
    one = replace(one, certainty=replace(one.certainty, least_probability=signal))
    if by == "options" and item.kind == "existence":
        return Asked(one, item.answer.lower().startswith(one.answer))
    return Asked(one, open_dataset("shapes").score(item, one.answer).right)


def table(path: Path = KEPT) -> str:
    """Markdown table: each signal under each guard, promised 5 %."""
    header, found = read_kept(path)
    lines = [
        "| guard | signal | changed at the smallest budget | AUROC | changed under the guard "
        "| held on the rest | held on test videos | tokens read |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for ladder, rows in LADDERS.items():
        for by, (_, title) in SIGNALS.items():
            videos, test = found[by]["validation"], found[by]["test"]
            each = [one.observation for asked in videos.values() for one in asked[rows[0]]]
            same = [one.certainty.least_probability for one in each if one.same]
            other = [one.certainty.least_probability for one in each if not one.same]
            [got] = [
                one
                for one in guards_of(videos, test, {ladder: rows}, [SIZE])
                if one.alpha == ALPHA and not one.on_average
            ]
            area = f"{auroc(same, other):.3f}" if same and other else "–"
            lines.append(
                f"| `{ladder}` | {title} | {len(other)} of {len(each)} | {area} "
                f"| {100 * got.changed:.1f} % | {100 * got.held:.0f} % "
                f"| {100 * (got.held_on_test or 0):.0f} % | {100 * got.tokens:.0f} % |"
            )
    videos, test = found["options"]["validation"], found["options"]["test"]
    counts = [fmean(len(rows["none"]) for rows in part.values()) for part in (videos, test)]
    notes = (
        f"{len(videos)} validation and {len(test)} test videos of `shapes` with "
        f"{counts[0]:.1f} and {counts[1]:.1f} questions each: those with letters, and those that "
        "yes or no answers, each asked in words and with options. Bundled model in float32, 32 "
        f"frames. {MODELS} The guards promise {100 * ALPHA:g} % with 95 % confidence from {SIZE} "
        "of the validation videos; mean of 100 draws, checked on the rest and on the test videos, "
        "by which nothing was chosen. Tokens: of all prefills, of those of the whole video. Commit "
        f"{header['commit']}, {header['machine']}."
    )
    return "\n".join([*lines, "", notes])


def main() -> None:
    """Ask, or report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    parser.add_argument("--export", action="store_true", help="ask nothing; write what there is")
    parser.add_argument("--report", action="store_true", help="make the table of what is kept")
    parser.add_argument("--write", action="store_true", help="with --report: into docs/data/tables")
    arguments = parser.parse_args()
    if not arguments.report:
        if not arguments.export:
            ask(arguments.out)
        export(arguments.out)
        return
    made = table()
    print(made)
    if arguments.write:
        keep(made, NAME)


if __name__ == "__main__":
    main()
