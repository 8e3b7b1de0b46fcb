"""A layer's selection by an index of its keys, by loops.

Written from the rule alone, in float64; it shares no code with `dycoke_cli`. Axes come from a
singular value decomposition of the keys, where the package takes eigenvectors of their covariance.
"""

from __future__ import annotations

import math

import numpy as np


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
) -> list[list[float]]:
    """For each query head, the attention to each visual token.

    query: [Hq, D]; keys: [Hk, S, D] of all tokens; visual: which of them are.
    """
    group = len(query) // len(keys)
    found = []
    for head, q in enumerate(query):
        own = keys[head // group].copy()
        own[visual] = approximate(own[visual])
        scores = [float(q @ key) * scaling for key in own]
        most = max(scores)
        whole = sum(math.exp(s - most) for s in scores)
        found.append([math.exp(scores[v] - most) / whole for v in visual])
    return found
