"""Which frames the bundled model attends to while it answers, and what stage 2 evicts and recalls.

`python -m benchmarks.attention` asks what happens in some videos of `shapes` (validation split)
under DyCoke's defaults, writes what `dycoke inspect` does of each (JSON and a picture) into
`--out`, and prints how often the KV selection was updated over all of them. `--write` makes the
first picture that of docs/dev/engine.md.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from PIL import Image

from benchmarks.kept_tokens import FRAME_PX, write_few_colours
from benchmarks.page import ROOT
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.inspect.inspection import inspect_question, pictures
from dycoke_cli.inspect.picture import drawn
from dycoke_cli.models.load import load
from dycoke_cli.video import Sampling, read

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
    arguments.out.mkdir(parents=True, exist_ok=True)
    drawings, steps = [], []
    for video in arguments.videos or listed:
        session = VideoSession(loaded, read(shapes.file(video), Sampling(frames=FRAMES)))
        found = inspect_question(
            session, video, arguments.question, [DyCoke()], GenerationOptions()
        )
        (arguments.out / f"{video}.json").write_text(json.dumps(to_dict(found)))
        drawings.append(drawn(found, pictures(session, FRAME_PX)))
        (arguments.out / f"{video}.png").write_bytes(drawings[-1])
        (done,) = found.methods
        # The first selection of an answer evicts most, and is no reselection.
        steps += done.trace.steps[2:]
        print(f"{video}: {done.answer}")
    renewed = [step for step in steps if step.reselected]
    swapped = sum(len(step.recalled) for step in renewed) / max(1, len(renewed))
    active = sum(len(step.active) for step in steps) / max(1, len(steps))
    print(
        f"{len(renewed)} of {len(steps)} steps reselected "
        f"({len(renewed) / max(1, len(steps)):.0%}); a reselection recalled {swapped:.1f} of "
        f"{active:.0f} active tokens."
    )
    if arguments.write:
        write_few_colours(Image.open(io.BytesIO(drawings[0])).convert("RGB"), PICTURE)


if __name__ == "__main__":
    main()
