"""Where the bundled model looks while it answers, and what stage 2 evicts and recalls.

`python -m benchmarks.attention` asks what happens in some videos of `shapes` (validation split)
under DyCoke's defaults, writes a trace (JSON) and a picture of each into `--out`, and says how
often the choice was renewed over all of them. `--write` makes the first picture the README's.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.page import ROOT
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.models.loading import load
from dycoke_cli.report.attention_plot import write_attention_plot

PICTURE = ROOT / "docs" / "attention.png"
FRAMES = 32


def main() -> None:
    """Ask, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("videos", nargs="*", help="of shapes, such as v003 (default: --first)")
    parser.add_argument("--first", type=int, default=20, help="that many videos (default: 20)")
    parser.add_argument("--question", default="What happens in the video?")
    parser.add_argument("--out", type=Path, default=Path("runs/attention"))
    parser.add_argument(
        "--write", action="store_true", help=f"the first one becomes {PICTURE.name}"
    )
    arguments = parser.parse_args()
    shapes, loaded = Shapes(), load("mini")
    listed = dict.fromkeys(item.video for item in shapes.items("validation", arguments.first))
    method = DyCoke().suited(loaded.method_defaults)
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures, steps = [], []
    for video in arguments.videos or listed:
        session = VideoSession(loaded, shapes.clip(video, FRAMES))
        answer = session.ask(arguments.question, method, trace=True)
        assert answer.trace is not None
        trace = answer.trace.to_dict()
        (arguments.out / f"{video}.json").write_text(json.dumps(trace))
        pictures.append(arguments.out / f"{video}.png")
        write_attention_plot(trace, pictures[-1], title=arguments.question)
        # The first choice of an answer evicts most, and is no renewal.
        steps += answer.trace.steps[1:]
        print(f"{video}: {answer.answer}")
    renewed = [step for step in steps if step.renewed]
    swapped = sum(len(step.recalled) for step in renewed) / max(1, len(renewed))
    active = sum(sum(step.active) for step in steps) / max(1, len(steps))
    print(
        f"{len(renewed)} of {len(steps)} steps renewed the choice "
        f"({len(renewed) / max(1, len(steps)):.0%}); a renewal recalled {swapped:.1f} of "
        f"{active:.0f} active tokens."
    )
    if arguments.write:
        shutil.copyfile(pictures[0], PICTURE)


if __name__ == "__main__":
    main()
