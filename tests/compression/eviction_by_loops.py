"""What stays in a capped cache, by loops over tokens: written from the rules' papers alone."""

from __future__ import annotations

import math

import torch

Heads = list[list[list[float]]]


def _cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (_norm(a) * _norm(b))


def _norm(vector: list[float]) -> float:
    return math.sqrt(sum(x * x for x in vector))


def _first(ranked: list[int], count: int) -> list[int]:
    return sorted(ranked[:count])


def stays(
    rule: str, keys: Heads, values: Heads, tokens: list[list[int]], per_frame: int, count: int
) -> list[list[int]]:
    """For each KV head which of its cached tokens stay, ascending.

    Args:
        rule: its name.
        keys: of each head, of each token.
        values: likewise.
        tokens: of each head the numbers of its tokens in the video.
        per_frame: tokens of a frame.
        count: how many stay.
    """
    everyone = range(len(tokens[0]))
    if rule == "recent":
        return [[*everyone][-count:] for _ in keys]
    if rule == "key-norm":
        joined = [[x for head in keys for x in head[i]] for i in everyone]
        return [_first(sorted(everyone, key=lambda i: _norm(joined[i])), count) for _ in keys]
    if rule == "uniform":
        reversed_bits = [[f"{t // per_frame:040b}"[::-1] for t in head] for head in tokens]
        return [_first(sorted(everyone, key=lambda i: bits[i]), count) for bits in reversed_bits]
    if rule == "random":
        drawn = torch.rand(
            10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        ).tolist()
        return [_first(sorted(everyone, key=lambda i: -drawn[head[i]]), count) for head in tokens]
    assert rule == "tar-van"
    found = []
    newest = max(max(head) for head in tokens) // per_frame
    shown = max(1, int(len(everyone) // per_frame / 4))
    for key, value, numbers in zip(keys, values, tokens, strict=True):
        latest = [i for i in everyone if numbers[i] // per_frame > newest - shown]
        scores = {}
        for i in everyone:
            same_place = [
                _cosine(key[i], key[q])
                for q in latest
                if numbers[q] % per_frame == numbers[i] % per_frame
            ]
            scores[i] = -sum(same_place) / max(1, len(same_place))
        earlier = sorted((i for i in everyone if i not in latest), key=lambda i: -scores[i])
        by_time = [*reversed(latest), *earlier][: count - round(count / 2)]
        others = sorted((i for i in everyone if i not in by_time), key=lambda i: -_norm(value[i]))
        found.append(_first([*by_time, *others], count))
    return found
