"""Times vision towers on all patches, and on those that merging before vision leaves.

`python -m benchmarks.vision_tower` encodes a drawn clip with the towers of Qwen-VL models, with
random weights and nothing of their language models, on one thread. Configurations take turns; what
counts is the median of the processor time, which a busy machine disturbs least.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from typing import Annotated, Any

import torch
import typer
from transformers import AutoConfig

from benchmarks.drawn import drawn
from benchmarks.page import ROOT, put, where
from dycoke_cli import DyCoke
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.uniform_spatial import UniformSpatial
from dycoke_cli.engine.encode import encode_video
from dycoke_cli.models.catalog import published
from dycoke_cli.models.families import family_of
from dycoke_cli.models.prompts.video_prompt import VideoPrompt, make_prompt
from dycoke_cli.models.random_weights import byte_processor, random_model

PAGE = ROOT / "docs" / "speed.md"
MODELS = ("qwen2-vl-2b", "qwen2.5-vl-3b", "qwen3-vl-2b")
METHODS: dict[str, Method] = {
    "all patches": Method(),
    "nothing dropped": DyCoke(merge_ratio=0.0, merge_stage="vision"),
    "any budget": UniformSpatial(merge_stage="vision"),
    "K=0.7": DyCoke(merge_stage="vision"),
    "K=0.9": DyCoke(merge_ratio=0.9, merge_stage="vision"),
}


def tower_of(name: str, frames: int) -> tuple[Any, VideoPrompt]:
    """A published model with one layer of its language model, and a drawn clip for it."""
    described = published(name)
    config = AutoConfig.for_model(**copy.deepcopy(described.config))
    config.get_text_config().num_hidden_layers = 1
    model = random_model(config, torch.device("cpu"), torch.float32)
    processor = byte_processor(described, config.get_text_config().vocab_size)
    return model, make_prompt(processor, family_of(config), config, drawn(frames))


def measured(model: Any, prompt: VideoPrompt, method: Method) -> tuple[float, int]:
    """Processor time of the vision side, from pixels to embeddings, and how many it encoded."""
    started, merging = time.process_time(), method.before_vision()
    kept = encode_video(model, family_of(model.config), prompt, merging=merging).kept
    return time.process_time() - started, prompt.visual if kept is None else len(kept)


def row(name: str, frames: int, runs: int) -> str:
    """A line of the table: seconds of each configuration, with the gain over all patches."""
    model, prompt = tower_of(name, frames)
    taken: dict[str, list[float]] = {method: [] for method in METHODS}
    encoded: dict[str, int] = {}
    for _ in range(runs):
        for label, method in METHODS.items():
            seconds, encoded[label] = measured(model, prompt, method)
            taken[label].append(seconds)
    patches = len(prompt.inputs["pixel_values_videos"])
    medians = {label: statistics.median(times) for label, times in taken.items()}
    whole = medians.pop("all patches")
    cells = []
    for label, median in medians.items():
        share = encoded[label] / prompt.visual
        cells.append(f"{median:.1f} ({whole / median:.2f}x, {100 * share:.0f}%)")
    return f"| {name} | {patches:,} | {whole:.1f} | {' | '.join(cells)} |"


def table(rows: Sequence[str]) -> str:
    """The lines of all models."""
    names = " | ".join(f"{label}, s" for label in METHODS)
    return "\n".join(
        [f"| tower of | patches | {names} |", f"|---|---|{'---|' * len(METHODS)}", *rows]
    )


def main(
    model: Annotated[list[str] | None, typer.Option(help="Published models; repeat it.")] = None,
    frames: Annotated[int, typer.Option(min=1)] = 8,
    runs: Annotated[int, typer.Option(min=1)] = 3,
    write: Annotated[bool, typer.Option("--write", help="Into docs/speed.md.")] = False,
) -> None:
    """Measure, and print the table."""
    torch.set_num_threads(1)
    rows = []
    for name in model or MODELS:
        rows.append(row(name, frames, runs))
        print(rows[-1], flush=True)
    found = (
        f"{table(rows)}\n\n{frames} pictures of 384 × 384, random weights, float32, one thread, "
        f"medians of {runs} runs in turns, processor time. {where()}"
    )
    if write:
        put(found, "vision tower", PAGE)
    else:
        print(found)


if __name__ == "__main__":
    typer.run(main)
