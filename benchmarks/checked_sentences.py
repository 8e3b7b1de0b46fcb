"""What `dycoke caption --check` finds: false sentences planted among true ones, clip by clip.

The bundled model, with the adapter that `python -m training statements` made, judges sentences
about clips of `shapes`. The control shows it another clip, so that only what sentences say by
themselves is left. `--ask` resumes; `--write` makes the table of the kept probabilities.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import table_lines
from benchmarks.json_lines import append_line, read_lines, write_compressed
from benchmarks.kept_tables import keep
from benchmarks.page import ROOT, machine
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.evaluation.dataset import Split
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.evaluation.scoring.statistics import shown_mean
from dycoke_cli.version import running_commit
from training.world.statements import KINDS, Statement, statements

NAME = "checked-sentences"
DATA = ROOT / "docs" / "data"
KEPT = DATA / f"{NAME}.jsonl.xz"
METHODS = ("none", "dycoke")
FRAMES, SEED = 32, 7
NAMES = {
    "event": "what happens",
    "thing": "what there is",
    "place": "where it is",
    "order": "the order of two events",
    "count": "how many there are",
}
BOUNDS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Probabilities below which a sentence is left out (`--drop-below`)."""


def asked(video: str) -> list[Statement]:
    """The sentences about a clip: as many true ones as false ones."""
    number = int(video[1:])
    return statements(Shapes().script(video), np.random.default_rng([SEED, number]))


def ask(out: Path, split: Split, videos: int) -> None:
    """Ask about every sentence, and about it with the next clip, and keep the probabilities."""
    from dycoke_cli import Sampling, VideoSession, load, read
    from dycoke_cli.answer.caption import checking_question
    from dycoke_cli.loop.checking import OPTIONS, probability_of_yes
    from training.statements import ADAPTER, export_statements

    folder = out.with_name("model")
    if not folder.exists():
        export_statements(ADAPTER, folder)
    loaded, dataset = load(str(folder)), Shapes()
    names = [one["id"] for one in dataset.videos(split, videos)]
    done = {(line["video"], line["shown"], line["method"]) for line in read_lines(out)}
    for name, other in pairwise([*names, names[0]]):
        for shown in (name, other):
            session = VideoSession(loaded, read(dataset.file(shown), Sampling(frames=FRAMES)))
            for spec in METHODS:
                method = parse_spec(spec).create()
                if (name, shown, spec) in done or (shown == other and spec != METHODS[0]):
                    continue
                found = [
                    probability_of_yes(
                        session.ask(checking_question(one.text), method, typed=OPTIONS.typed)
                    )
                    for one in asked(name)
                ]
                append_line(
                    out, {"video": name, "shown": shown, "method": spec, "probabilities": found}
                )


def pack(lines: Path, split: Split, kept: Path = KEPT) -> None:
    """Keep the probabilities of a run, with what was asked and where."""
    header = {"split": split, "frames": FRAMES, "commit": running_commit(), "machine": machine()}
    write_compressed(kept, [header, *read_lines(lines)])


def table(kept: Path = KEPT) -> str:
    """Markdown tables: by bound, and by what the sentences tell."""
    header, *lines = read_lines(kept)
    asked_alone = [one for one in lines if one["method"] == METHODS[0]]
    ways = {
        "none": [one for one in asked_alone if one["shown"] == one["video"]],
        "`dycoke`": [one for one in lines if one["method"] == "dycoke"],
        "another clip": [one for one in asked_alone if one["shown"] != one["video"]],
    }
    by_bound: dict[str, Callable[[float], str]] = {"left out below": "{:g}".format}
    by_kind: dict[str, Callable[[str], str]] = {"at 0.5, sentences about": NAMES.__getitem__}
    for way, own in ways.items():
        for true, what in ((False, "false found"), (True, "true lost")):
            heading = f"{way}: {what}, %"
            by_bound[heading] = partial(_share, own, KINDS, true=true)
            by_kind[heading] = partial(_share_of_kind, own, true=true)
    own = ways["none"]
    sentences = sum(len(line["probabilities"]) for line in own)
    neither = sum(p is None for line in own for p in line["probabilities"])
    notes = (
        f"{sentences:,} sentences, half of them false, about {len(own)} {header['split']} clips of "
        f"`shapes`, {header['frames']} frames; bundled model with an adapter that learned to judge "
        f"sentences, without compression and with `dycoke`. To {neither:,} it says neither yes nor "
        "no: they stay. ±: one standard error, clustered by clip; one training of the adapter. "
        "Control: the same sentences, another clip shown, no compression. Commit "
        f"{header['commit']}, {header['machine']}."
    )
    tables = [*table_lines(by_bound, BOUNDS), "", *table_lines(by_kind, KINDS)]
    return "\n".join([*tables, "", notes])


def _share_of_kind(lines: Sequence[Mapping[str, Any]], kind: str, *, true: bool) -> str:
    return _share(lines, (kind,), 0.5, true=true)


def _share(
    lines: Sequence[Mapping[str, Any]], kinds: Sequence[str], bound: float, *, true: bool
) -> str:
    """Share of the true or the false sentences of some kinds that are below a bound."""
    below, clips = [], []
    for line in lines:
        pairs = zip(asked(line["video"]), line["probabilities"], strict=True)
        found = [p for one, p in pairs if one.true == true and one.kind in kinds]
        below += [float(p is not None and p < bound) for p in found]
        clips += [line["video"]] * len(found)
    mean, error = shown_mean(below, clips)
    return "–" if mean is None or error is None else f"{100 * mean:.1f} ± {100 * error:.1f}"


def main() -> None:
    """Ask, or make the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ask", type=Path, metavar="FILE", help="ask, and keep the answers here")
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="keep the answers and their tables")
    arguments = parser.parse_args()
    kept = KEPT
    if arguments.ask is not None:
        ask(arguments.ask, arguments.split, arguments.videos)
        kept = KEPT if arguments.write else arguments.ask.with_suffix(".xz")
        pack(arguments.ask, arguments.split, kept)
    measured = table(kept)
    print(measured)
    if arguments.write:
        keep(measured, NAME)


if __name__ == "__main__":
    main()
