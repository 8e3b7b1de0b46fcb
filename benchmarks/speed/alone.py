"""What the linear layers alone take: the time that is left when all else costs nothing.

What an engine can still save is the rest: attention, norms, what is moved and chosen.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from benchmarks.drawn import drawn
from benchmarks.speed.contestants import Contestant
from benchmarks.speed.measured import Measured
from dycoke_cli import VideoSession
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.generate import Stopwatch, weights_read
from dycoke_cli.engine.memory.flops import CHUNK
from dycoke_cli.kernels.linear import PackedLinear
from dycoke_cli.models.load import LoadedModel

# Tokens of a question and the chat template, beside the visual ones.
TEXT = 24
Rows = dict[nn.Module, int]


@torch.inference_mode()
def linear_alone(
    loaded: LoadedModel, frames: int, contestant: Contestant, new_tokens: int
) -> Measured:
    """The linear layers of an answer, for as many rows as they would get, one after the other."""
    assert contestant.method is not None
    session = VideoSession(loaded, drawn(1))
    tower = _rows_of_a_frame(loaded, session)
    output = loaded.model.get_output_embeddings()
    inside = [part for part in loaded.model.get_decoder().modules() if _is_linear(part)]
    visual = contestant.method.kept_tokens(frames, session.video.tokens_per_frame)
    chunks, last = divmod(visual + TEXT, CHUNK)

    def reading(rows: int, times: int = 1) -> float:
        return times * _seconds(dict.fromkeys(inside, rows)) if rows and times else 0.0

    vision = frames * _seconds(tower)
    prefill = reading(CHUNK, chunks) + reading(last) + _seconds({output: 1})
    token = reading(1) + _seconds({output: 1})
    total = vision + prefill + (new_tokens - 1) * token
    read = weights_read(loaded.model) or 0
    loading = loaded.seconds_load
    return Measured(
        0.0, vision, prefill, token, total, None, visual, read, new_tokens, None, loading
    )


def _rows_of_a_frame(loaded: LoadedModel, session: VideoSession) -> Rows:
    """The linear layers that a frame goes through, and how many rows each gets of it."""
    found: Rows = {}
    hooks = [
        part.register_forward_pre_hook(
            lambda part, args: found.update({part: args[0].numel() // args[0].shape[-1]})
        )
        for part in loaded.model.modules()
        if _is_linear(part)
    ]
    session.encode(Stopwatch(loaded.input_device), BASELINE)
    for hook in hooks:
        hook.remove()
    return found


def _is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear | PackedLinear)


def _seconds(layers: Rows) -> float:
    """Of a pass through all layers, the second: weights come from memory, as in an answer."""
    inputs = {
        part: torch.randn(rows, part.in_features, dtype=part.weight.dtype)
        for part, rows in layers.items()
    }
    for _ in range(2):
        begun = time.perf_counter()
        for part, x in inputs.items():
            part(x)
        took = time.perf_counter() - begun
    return took
