"""Answers by stock transformers or by this project's engine, in the project's own environment."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from benchmarks.drawn import drawn
from benchmarks.peers.runners.line import (
    WARM_UP_FRAMES,
    WARM_UP_TOKENS,
    Answer,
    Task,
    given,
    say,
)
from benchmarks.resident import forget_peak, peak
from benchmarks.speed.contestants import Contestant
from benchmarks.speed.measuring import whole
from dycoke_cli import VideoSession, load
from dycoke_cli.compression.registry import create
from dycoke_cli.version import running_commit


def answer(task: Task) -> Answer:
    """Settings: `method`, none for stock `generate()`, and `parameters` of the method."""
    torch.set_num_threads(task.threads)
    parameters = dict(task.settings)
    name = parameters.pop("method", None)
    method = None if name is None else create(name, **parameters)
    kernels = "stock" if method is None else "fast"
    stored: dict[str, Any] = {"dtype": task.weights}
    if task.weights == "int8":
        stored = {"quantize": "int8"}
    loaded = load(task.model, device="cpu", kernels=kernels, **stored)
    contestant, frames = Contestant("", kernels, method), len(task.times)
    whole(loaded, WARM_UP_FRAMES, contestant, WARM_UP_TOKENS)
    forget_peak()
    found = whole(loaded, frames, contestant, task.tokens)
    most = peak()
    video = VideoSession(loaded, drawn(frames), reuse=False).video
    return Answer(
        vision=found.processor + found.vision,
        prefill=found.prefill,
        token=found.token,
        total=found.total,
        peak=most,
        visual=found.visual,
        text=video.input_ids(task.question).shape[1] - video.visual,
        written=found.written,
        version=f"transformers {transformers.__version__}, torch {torch.__version__}"
        if method is None
        else f"dycoke {running_commit() or 'of an unknown commit'}",
    )


if __name__ == "__main__":
    say(answer(given()))
