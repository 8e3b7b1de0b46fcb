"""Each layer's own selection by loops, and stock attention masked to it: no cache, no gathering.

Written from the rule alone, in float64; it shares no code with `dycoke_cli`. Axes come from a
singular value decomposition of the keys, where the package takes eigenvectors of their covariance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface

from tests.engine.reference import top

NAME = "tests_own"


def approximate(keys: np.ndarray) -> np.ndarray:
    """What an index knows of the keys [V, D] of a head: the same shape, rounded."""
    count, width = keys.shape
    mean = sum(keys, np.zeros(width)) / count
    axes = np.linalg.svd(keys - mean, full_matrices=True)[2][: max(1, width // 8)]
    known = np.tile(mean, (count, 1))
    for axis in axes:
        coordinates = [float((key - mean) @ axis) for key in keys]
        unit = max(abs(x) for x in coordinates) / 127
        for number, x in enumerate(coordinates):
            known[number] += (round(x / unit) if unit else 0) * unit * axis
    return known


def attention(
    query: np.ndarray,
    keys: np.ndarray,
    visual: list[int],
    scaling: float,
    bias: dict[int, float],
) -> list[list[float]]:
    """For each query head, the attention to each visual token.

    query: [Hq, D]; keys: [Hk, S, D] of all tokens; visual: which of them are; bias: what is added
    to the scores of some.
    """
    group = len(query) // len(keys)
    found = []
    for head, q in enumerate(query):
        own = keys[head // group].copy()
        own[visual] = approximate(own[visual])
        scores = [float(q @ key) * scaling + bias.get(i, 0.0) for i, key in enumerate(own)]
        most = max(scores)
        whole = sum(math.exp(s - most) for s in scores)
        found.append([math.exp(scores[v] - most) / whole for v in visual])
    return found


def selected(weights: list[list[float]], heads: int, count: int, per_head: bool) -> list[list[int]]:
    """For each KV head the visual tokens with the most attention, ascending."""
    group = len(weights) // heads
    if not per_head:
        weights = [[sum(column) / len(weights) for column in zip(*weights, strict=True)]]
        return [top(weights[0], count)] * heads
    means = [
        [sum(column) / group for column in zip(*weights[h * group : (h + 1) * group], strict=True)]
        for h in range(heads)
    ]
    return [top(mean, count) for mean in means]


@dataclass
class Choices:
    """What is selected, and what was: by layer, for each step and KV head."""

    columns: list[int]
    prompt: int
    count: int
    first: int
    per_head: bool
    bias: dict[int, float] = field(default_factory=dict)
    made: dict[int, list[list[list[int]]]] = field(default_factory=dict)


_choices: list[Choices] = []


@contextmanager
def own_attention(model: Any, choices: Choices) -> Iterator[None]:
    """Within the block a stock model masks, in rows behind the prompt, what isn't selected."""
    _choices.append(choices)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")
        _choices.clear()


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **_: Any
) -> tuple[torch.Tensor, None]:
    choices = _choices[0]
    size, heads, layer = query.shape[2], key.shape[1], module.layer_idx
    group = query.shape[1] // heads
    masks = attention_mask[0, 0].double().expand(heads, size, size).clone()
    made = choices.made.setdefault(layer, [])
    if size > choices.prompt and layer >= choices.first:
        if len(made) < size - choices.prompt:
            keys = key[0].double().numpy()
            last = query[0, :, -1].double().numpy()
            weights = attention(last, keys, choices.columns, scaling, choices.bias)
            made.append(selected(weights, heads, choices.count, choices.per_head))
        for step, by_head in enumerate(made):
            for head, active in enumerate(by_head):
                gone = [c for i, c in enumerate(choices.columns) if i not in set(active)]
                masks[head, choices.prompt + step, gone] = -math.inf
    outs = []
    for head in range(query.shape[1]):
        kv = head // group
        scores = query[0, head] @ key[0, kv].T * scaling + masks[kv]
        outs.append(scores.softmax(-1) @ value[0, kv])
    return torch.stack(outs, 1)[None], None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)
