"""Which tokens of a clip reach the language model, under DyCoke and under coverage at its share.

`python -m benchmarks.kept_tokens` draws a video of `shapes` (validation split) into docs/kept.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from benchmarks.page import ROOT
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.compression.selection import SelectionInputs
from dycoke_cli.engine.encode import encode_video
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.inspect.inspection import grid_of, pictures
from dycoke_cli.inspect.picture import kept_strip, stacked
from dycoke_cli.models.load import load
from dycoke_cli.video import Sampling, read

PICTURE = ROOT / "docs" / "kept.png"
FRAMES, COLOURS, FRAME_PX = 16, 128, 320
# As much as DyCoke can drop: each frame but every fourth.
ROWS: tuple[tuple[str, Method], ...] = (
    ("DyCoke", DyCoke(merge_ratio=0.99)),
    ("coverage", DyCokePlus(retain=0.25)),
    ("coverage", DyCokePlus(retain=0.1)),
)


def main() -> None:
    """Encode, select, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("video", nargs="?", default="v004", help="of shapes (default: v004)")
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    loaded = load("mini")
    clip = read(Shapes().file(arguments.video), Sampling(frames=FRAMES))
    session = VideoSession(loaded, clip)
    encoded = encode_video(loaded.model, loaded.family, session.video)
    per_frame = session.video.tokens_per_frame
    features = encoded.embeddings[: FRAMES * per_frame].view(FRAMES, per_frame, -1)
    grid, frames = grid_of(session), pictures(session, FRAME_PX)
    parts = [
        part
        for name, method in ROWS
        for part in kept_strip(
            name, grid, BoundMethod(method).select(SelectionInputs(features)).kept.tolist(), frames
        )
    ]
    write_few_colours(stacked(parts), arguments.out)


def write_few_colours(picture: Image.Image, path: Path) -> None:
    """Write a PNG of half the size: most of it would be the noise of the frames."""
    picture.reduce(2).quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
