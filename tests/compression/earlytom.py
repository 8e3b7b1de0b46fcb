"""EarlyTom's groups and merging of frames by loops."""

from __future__ import annotations

import math

from dycoke_cli.compression.methods.earlytom import EarlyTom
from tests.compression.clips import cosine, single

Frame = list[list[float]]


def alike(a: Frame, b: Frame) -> float:
    each = [single(cosine(p, q)) for p, q in zip(a, b, strict=True)]
    return single(math.fsum(each) / len(each))


def groups_by_loops(frames: list[Frame], method: EarlyTom) -> list[list[int]]:
    groups, average = [[0]], 1.0
    for number in range(1, len(frames)):
        similarity = alike(frames[groups[-1][0]], frames[number])
        average = method.ema * similarity + (1 - method.ema) * average
        if average < method.group_threshold or len(groups[-1]) + 1 >= method.max_window:
            groups.append([number])
            average = 1.0
        else:
            groups[-1].append(number)
    return groups


def merged_by_loops(
    frames: list[Frame], method: EarlyTom, least: int
) -> tuple[list[Frame], list[int]]:
    """The frames that are left, and for each that was there the number of its own among them."""
    left: list[Frame] = []
    rows: list[int] = []
    count = len(frames)
    for group in groups_by_loops(frames, method):
        todo = [*group]
        ends = alike(frames[group[0]], frames[group[-1]])
        while todo:
            first = todo.pop(0)
            rows.append(len(left))
            left.append(frames[first])
            # Neither end of the group is ever one of a pair.
            if first == group[0] or len(todo) < 2 or count <= least:
                continue
            second = todo[0]
            now = alike(frames[first], frames[second])
            following = alike(frames[second], frames[todo[1]]) if len(todo) > 2 else None
            if now > ends and (following is None or now > following):
                other = max(following or 0.0, 0.0)
                share = now / (now + other) if now > 0 else 1.0
                left[-1] = [
                    [share * x + (1 - share) * y for x, y in zip(p, q, strict=True)]
                    for p, q in zip(frames[first], frames[second], strict=True)
                ]
                rows.append(rows[-1])
                todo.pop(0)
                count -= 1
    return left, rows
