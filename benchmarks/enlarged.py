"""Writes a checkpoint of the bundled model that takes larger frames: more tokens each.

`python -m benchmarks.enlarged DIR --side 224` gives 196 visual tokens per frame in place of 16, as
many as LLaVA-OneVision has: `dycoke eval shapes --model DIR --frames 8`. Only the position
embeddings of the vision tower change: they are interpolated, as is usual for a larger picture. The
weights never saw such frames, so the model answers worse; but what its tower says of a clip has the
structure of real features.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file

from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT

SIDE = 224
CONTEXT = 32_768
"""The bundled model's is what it was trained on; rotary positions have no end of their own."""


def enlarge(folder: Path, side: int = SIDE) -> None:
    """Write the checkpoint."""
    shutil.copytree(BUNDLED_CHECKPOINT, folder, dirs_exist_ok=True)
    config = _read(folder / "config.json")
    patches = side // config["vision_config"]["patch_size"]
    config["vision_config"]["image_size"] = side
    config["image_grid_pinpoints"] = [[side, side]]
    config["text_config"]["max_position_embeddings"] = CONTEXT
    _write(folder / "config.json", config)
    processor = _read(folder / "processor_config.json")
    processor["num_image_tokens"] = patches**2
    processor["image_processor"]["image_grid_pinpoints"] = [[side, side]]
    for part in ("image_processor", "video_processor"):
        processor[part]["size"] = {"height": side, "width": side}
    _write(folder / "processor_config.json", processor)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "position_embedding" in name)
    weights[name] = _interpolated(weights[name], patches)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _interpolated(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Position embeddings `[S², D]` of a square of patches, for one of `side` patches a side."""
    grid = positions.float().unflatten(0, (math.isqrt(len(positions)), -1)).permute(2, 0, 1)
    larger = torch.nn.functional.interpolate(grid[None], (side, side), mode="bicubic")[0]
    return larger.flatten(1).T.contiguous().to(positions.dtype)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(
    folder: Annotated[Path, typer.Argument(help="For the checkpoint.")],
    side: Annotated[int, typer.Option(help="Of the frames, in pixels; a multiple of 16.")] = SIDE,
) -> None:
    """Write the checkpoint."""
    if side < 16 or side % 16:
        raise SystemExit(f"--side {side} isn't a multiple of 16, two patches")
    enlarge(folder, side)
    print(f"{folder}: frames of {side} x {side}, {(side // 16) ** 2} visual tokens each")


if __name__ == "__main__":
    typer.run(main)
