"""What is left of a needle, and what is answered, in videos of 2 to 60 minutes at equal tokens.

`python -m benchmarks.shapes_long` reads the videos of `shapes-long` (test split) at one frame per
second, keeps 512 tokens of each by several rules, and writes which of the needle's tokens are kept
and what is answered into docs/data; an interrupted run resumes. `--model FOLDER --name NAME`
measures another checkpoint of that world. `--report` makes the tables without a model, and
`--write` puts them into docs/long-video.md.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.json_lines import append_line, read_lines
from benchmarks.page import machine, put
from benchmarks.shapes_long_rules import ROWS, TOKENS, shows_card, whole_frames
from benchmarks.shapes_long_tables import DATA, PAGE, SUFFIX, tables
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.selection import SelectionInputs
from dycoke_cli.engine.encode import encode_video
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes_long import EDITION, FPS, ShapesLong
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.stock.quiet import silence_libraries
from dycoke_cli.version import running_commit
from dycoke_cli.video import Sampling, read

OUT = Path("runs/shapes-long")
DTYPE = "float32"
UNASKED = ("coverage of 8 frames",)
"""Rows whose kept tokens alone are measured."""


def measured(loaded: LoadedModel, dataset: ShapesLong, items: list[Item]) -> Iterator[Any]:
    """The lines of a video: of each row what is kept of the card, and each question's answer.

    Args:
        loaded: the model.
        dataset: the benchmark.
        items: questions about one video; of a row of `ROWS` that isn't asked only what is kept.
    """
    video = items[0].video
    script, rendered = dataset.script(video), dataset.file(video)
    whole = VideoSession(loaded, read(rendered, Sampling(fps=FPS)))
    frames, per_frame = whole.video.frames, whole.video.tokens_per_frame
    card, shown = shows_card(script, frames, round(per_frame**0.5)), TOKENS // per_frame
    features = encode_video(loaded.model, loaded.family, whole.video).embeddings
    inputs = SelectionInputs(features[: frames * per_frame].view(frames, per_frame, -1))
    for row, method in ROWS.items():
        if method is None:
            kept = card[whole_frames(row, frames, shown)]
        else:
            kept = card.flatten()[method.choose(inputs).kept]
        yield {"row": row, "card": int(kept.sum()), "of": int(card.sum())}
        if row in UNASKED:
            continue
        session = whole
        if method is None:
            start = script.seconds - shown / FPS if row == "recent" else None
            session = VideoSession(loaded, read(rendered, Sampling(frames=shown, start_s=start)))
        # One after the other: what was prefilled of the video is used again.
        for item in items:
            answer = session.ask(item.question, method or Method())
            right = dataset.score(item, answer.answer).right
            tokens = answer.tokens.visual_kept
            yield {"row": row, "item": item.id, "tokens": tokens, "said": answer.answer} | {
                "right": right
            }


def ask(arguments: argparse.Namespace) -> Path:
    """Measure the videos that aren't measured yet; returns the file of what was."""
    silence_libraries()
    loaded = load(arguments.model, dtype=DTYPE)
    dataset = ShapesLong()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file: Path = arguments.out / f"{arguments.name}.jsonl"
    done = {line["video"] for line in read_lines(file) if "video" in line}
    if not done:
        append_line(
            file,
            {"benchmark": dataset.name, "edition": EDITION, "split": "test", "budget": TOKENS}
            | {"name": arguments.name, "model": loaded.identity}
            | {"commit": running_commit(), "machine": machine()},
        )
    # A description takes as long as all other answers, and an hour's is hardly ever correct.
    asked = [i for i in dataset.items("test", arguments.videos) if i.kind != "description"]
    for video, items in grouped(asked, lambda item: item.video).items():
        if video not in done:
            with torch.inference_mode():
                lines = [*measured(loaded, dataset, items)]
            append_line(file, {"video": video, "lines": lines})
            print(f"{arguments.name}: {video}", file=sys.stderr)
    return file


def export(file: Path, data: Path) -> Path:
    """Write the compressed file of what a run has measured, and return its path."""
    header, *videos = read_lines(file)
    lines = [header, *({"video": v["video"], **line} for v in videos for line in v["lines"])]
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path = data / f"long-{file.stem}{SUFFIX}"
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return path


def main() -> None:
    """Measure, and write what was into docs/data; or make the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the run ({OUT})")
    parser.add_argument("--model", default=BUNDLED.model, help="another checkpoint folder")
    parser.add_argument("--name", default="shipped", help="of the model in tables (shipped)")
    parser.add_argument("--videos", type=int, help="of the split (80)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of exported answers")
    parser.add_argument("--report", action="store_true", help="make the tables of --data")
    parser.add_argument("--write", action="store_true", help="with --report: into the page")
    arguments = parser.parse_args()
    if not arguments.report:
        print(export(ask(arguments), arguments.data), file=sys.stderr)
        return
    text = tables(arguments.data)
    if arguments.write:
        put(text, "long-evidence", PAGE)
    else:
        print(text)


if __name__ == "__main__":
    main()
