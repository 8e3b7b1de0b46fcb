"""The choices of `dycoke tune` and the bounds of its guards, on the world of `shapes`.

`python -m benchmarks.tune` asks what isn't answered yet (an interrupted run resumes) and writes
`docs/data/tune-MODEL.jsonl.xz`, of `--split test` `tune-MODEL-test.jsonl.xz`; `--export` writes
what an interrupted run has. `--model` and `--name` measure another checkpoint of that world.
`--report` makes the tables of docs/data, without a model; `--write` keeps them there as CSV.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.kept_tables import keep
from benchmarks.raw_answers import DATA
from benchmarks.tune_tables import TABLE, file_of, tables
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.method_specs import Spec, parse_specs
from dycoke_cli.errors import DycokeError
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.runs.journal import open_journal
from dycoke_cli.tuning.observations import FILE, TuneJournal, key_of
from dycoke_cli.version import running_commit

OUT = Path("runs/tune")
DTYPE = "float32"
LADDERS = {
    "dycoke": ("dycoke",),
    "dycoke-plus": ("dycoke-plus:retain=0.1", "dycoke-plus:retain=0.25"),
    "flashvid": ("flashvid:retain=0.1", "flashvid:retain=0.25"),
}
"""The budgets of each guard, smallest first; all tokens come last."""
GUARDED = ("none", *(spec for ladder in LADDERS.values() for spec in ladder))
OTHERS = ("dycoke:prune_layer=3", "evs:retain=0.25", "evs:retain=0.1", "random:retain=0.25")
"""With those of the guards, the rows of the table `whole`, so that their test accuracy is known."""
LARGE = "dycoke-plus:retain=0.5"
"""Its test accuracy is known of the test videos alone that are asked here."""
TUNED = 60
"""Videos that all settings are measured on; the guards' alone on those behind them."""
VIDEOS: dict[Split, int] = {"validation": 200, "test": 60}


def specs_of(split: Split, number: int) -> list[Spec]:
    """The settings that a video is asked with, the baseline first."""
    if split == "test":
        return parse_specs(",".join((*GUARDED, LARGE)))
    return parse_specs(",".join((*GUARDED, *((*OTHERS, LARGE) if number < TUNED else ()))))


def questions(split: Split) -> dict[str, list[Item]]:
    """The questions of a split by video, without follow-up questions."""
    items = open_dataset("shapes").items(split)
    return grouped((item for item in items if not item.history), lambda item: item.video)


def ask(arguments: argparse.Namespace) -> None:
    """Ask what isn't answered yet."""
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import load
    from dycoke_cli.tuning.measuring import Baseline
    from dycoke_cli.video import read

    loading = replace(BUNDLED.loading, dtype=arguments.dtype)
    loaded = load(arguments.model, **asdict(loading))
    dataset = open_dataset("shapes")
    with open_journal(TuneJournal, arguments.out / arguments.name / FILE) as journal:
        for number, (video, items) in enumerate(questions(arguments.split).items()):
            if number >= (arguments.videos or VIDEOS[arguments.split]):
                return
            specs = specs_of(arguments.split, number)
            if all(journal.get(key_of({"video": video, "row": s.text})) for s in specs):
                continue
            print(f"{arguments.name}: {video}, {number + 1}", file=sys.stderr)
            session = VideoSession(loaded, read(str(dataset.file(video)), BUNDLED.sampling))
            base = Baseline(session, [item.question for item in items], BUNDLED.generation)
            for spec in specs:
                key = key_of({"video": video, "row": spec.text})
                if journal.get(key) is None:
                    journal.add(
                        key,
                        base.observations if spec.is_baseline else base.compare(spec.create()),
                    )


def export(arguments: argparse.Namespace) -> Path:
    """Write the answers of all videos that every budget of the guards was asked about."""
    journal = TuneJournal(arguments.out / arguments.name / FILE)
    path = file_of(arguments.data, arguments.name, arguments.split)
    lines = _lines(journal, arguments.split)
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return path


def _lines(journal: TuneJournal, split: Split) -> Iterator[dict[str, Any]]:
    yield {"table": TABLE, "benchmark": "shapes", "split": split, "commit": running_commit()}
    for number, (video, items) in enumerate(questions(split).items()):
        rows = {
            spec.text: journal.get(key_of({"video": video, "row": spec.text}))
            for spec in specs_of(split, number)
        }
        if not all(rows[row] for row in GUARDED):
            continue
        for row, observations in rows.items():
            for item, observation in zip(items, observations or (), strict=bool(observations)):
                line = {"video": video, "item": item.id, "row": row, **to_dict(observation)}
                del line["question"]
                yield line


def main() -> None:
    """Ask, and write the answers into docs/data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    parser.add_argument("--model", default=BUNDLED.model, help="another checkpoint folder")
    parser.add_argument("--name", default="shipped", help="of the model in tables (shipped)")
    parser.add_argument("--dtype", default=DTYPE, help=f"of the weights ({DTYPE})")
    parser.add_argument("--split", choices=VIDEOS, default="validation", help="(validation)")
    parser.add_argument("--videos", type=int, help="of the split (200, of test 60)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of exported answers")
    parser.add_argument("--export", action="store_true", help="ask nothing; write what there is")
    parser.add_argument("--report", action="store_true", help="make the tables of --data")
    parser.add_argument("--write", action="store_true", help="with --report: into docs/data/tables")
    arguments = parser.parse_args()
    if arguments.report:
        for name, text in tables(arguments.data, arguments.name, LADDERS).items():
            if arguments.write:
                keep(text, name)
            else:
                print(f"{name}\n\n{text}\n")
        return
    try:
        if not arguments.export:
            ask(arguments)
        print(f"wrote {export(arguments)}", file=sys.stderr)
    except DycokeError as error:
        raise SystemExit(f"Error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
