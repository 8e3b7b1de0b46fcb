"""Which tokens of a clip reach the language model, under DyCoke and under coverage at its share.

`python -m benchmarks.kept_tokens` draws a video of `shapes` (validation split) into docs/kept.png.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.page import ROOT
from dycoke_cli.cli.plotting import TEXT_COLOUR, new_figure, unframe, write_figure
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.compression.selection import Given
from dycoke_cli.engine.encode import encode_video
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.models.load import load
from dycoke_cli.models.video_prompt import make_prompt
from dycoke_cli.video import Sampling, read

PICTURE = ROOT / "docs" / "kept.png"
FRAMES, COLOURS = 16, 48
# As much as DyCoke can drop: each frame but every fourth.
ROWS: dict[str, Method] = {
    "DyCoke": DyCoke(merge_ratio=0.99),
    "coverage": DyCokePlus(retain=0.25),
    "coverage ": DyCokePlus(retain=0.1),
}
_FADED = 0.86
"""How white a dropped token is."""


def main() -> None:
    """Encode, select, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("video", nargs="?", default="v004", help="of shapes (default: v004)")
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    loaded = load("mini")
    clip = read(Shapes().file(arguments.video), Sampling(frames=FRAMES))
    prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, clip)
    encoded = encode_video(loaded.model, loaded.family, prompt)
    per_frame = prompt.tokens_per_frame
    features = encoded.embeddings[: FRAMES * per_frame].view(FRAMES, per_frame, -1)
    selections = {name: method.choose(Given(features)).kept for name, method in ROWS.items()}
    write_figure(kept_figure(clip.frames, per_frame, selections), arguments.out)
    # The noise of the frames is most of the file, and a few colours are enough for it.
    with Image.open(arguments.out) as picture:
        few = picture.convert("RGB").quantize(
            COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    few.save(arguments.out, optimize=True)


def kept_figure(frames: np.ndarray, per_frame: int, selections: dict[str, torch.Tensor]) -> Figure:
    """The frames once for each selection, in which dropped tokens are faded.

    Args:
        frames: `[F, H, W, 3]`, uint8.
        per_frame: N, a square grid of tokens.
        selections: by name, flat indices `frame*N + position`.
    """
    side, count = math.isqrt(per_frame), len(frames)
    figure = new_figure()
    grid = figure.subplots(len(selections), 1)
    for axes, (name, kept) in zip(grid, selections.items(), strict=True):
        is_kept = np.zeros((count, side, side), dtype=bool)
        is_kept.reshape(-1)[kept.numpy()] = True
        half = count // 2
        strip = np.concatenate(
            [
                np.concatenate([_shown(frames[i], is_kept[i]) for i in row], axis=1)
                for row in (range(half), range(half, count))
            ]
        )
        axes.imshow(strip, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        share = len(kept) / (count * per_frame)
        axes.set_ylabel(f"{name.strip()}\n{share:.0%} kept", fontsize=9, color=TEXT_COLOUR)
        unframe(axes)
    return figure


def _shown(frame: np.ndarray, is_kept: np.ndarray) -> np.ndarray:
    """A frame `[H, W, 3]` within a white line, its dropped tokens faded."""
    height, width = frame.shape[:2]
    rows = np.arange(height) * len(is_kept) // height
    columns = np.arange(width) * len(is_kept) // width
    whole = is_kept[rows][:, columns, None]
    faded = frame * (1 - _FADED) + 255 * _FADED
    shown = np.where(whole, frame, faded).astype(np.uint8)
    edge = max(1, width // 60)
    return np.pad(shown, ((edge, edge), (edge, edge), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
