"""What is left of a needle, and what is answered, in videos of 2 to 60 minutes at equal tokens.

`python -m benchmarks.shapes_long` reads the videos of `shapes-long` (test split) at one frame per
second, keeps 512 tokens of each by several rules, and writes which of the needle's tokens are kept
and what is answered into docs/data; an interrupted run resumes. `--model FOLDER --name NAME`
measures another checkpoint of that world. `--report` makes the tables without a model, and
`--write` puts them into docs/results.md.
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
from benchmarks.shapes_long_rules import ASKED, RULES, SAMPLED, TOKENS, Chosen, shows_card
from benchmarks.shapes_long_tables import DATA, PAGE, SUFFIX, tables
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.selection import Selection
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.generation import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
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
KINDS = ("needle", "needle place", "needle order", "order", "letter")
"""That are asked: those whose answers are short, and told by one or two events."""


def measured(loaded: LoadedModel, dataset: ShapesLong, items: list[Item]) -> Iterator[Any]:
    """The lines of a video: of each rule what is kept of the card, of each row the answers.

    Args:
        loaded: the model.
        dataset: the benchmark.
        items: questions about one video.
    """
    video = items[0].video
    script, rendered = dataset.script(video), dataset.file(video)
    whole = VideoSession(loaded, read(rendered, Sampling(fps=FPS)))
    frames, per_frame = whole.video.frames, whole.video.tokens_per_frame
    features = _features(whole, items[0].question)
    card, shown = shows_card(script, frames, round(per_frame**0.5)), TOKENS // per_frame
    chosen = {name: rule(features, TOKENS) for name, rule in RULES.items()}
    for name, selection in chosen.items():
        kept = int(card.flatten()[selection.kept].sum())
        yield {"rule": name, "card": kept, "of": int(card.sum())}
    for row, (rule, positions) in ASKED.items():
        session, method = whole, Chosen(rule=rule, selection=chosen[rule], positions=positions)
        if rule in SAMPLED:
            start = script.seconds - shown / FPS if rule == "recent" else None
            session = VideoSession(loaded, read(rendered, Sampling(frames=shown, start_s=start)))
        # One after the other: what was prefilled of the video is used again.
        for item in items:
            answer = session.ask(item.question, Method() if rule in SAMPLED else method)
            right, tokens = dataset.score(item, answer.answer).right, answer.tokens.visual_kept
            said = {"tokens": tokens, "said": answer.answer, "right": right}
            yield {"row": row, "item": item.id, **said}


def _features(session: VideoSession, question: str) -> torch.Tensor:
    """The visual tokens of a video, as the session encodes it once: [F, N, D]."""
    some = Chosen(rule="first", selection=Selection(torch.arange(TOKENS)))
    first = bind(some, session.loaded.traits)
    session.encode(Stopwatch(session.loaded.input_device), first)
    (encoded,) = session.prompt(question, (), first, GenerationOptions())().videos
    frames, per_frame = session.video.frames, session.video.tokens_per_frame
    return encoded.embeddings[: frames * per_frame].view(frames, per_frame, -1)


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
    asked = [item for item in dataset.items("test", arguments.videos) if item.kind in KINDS]
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
