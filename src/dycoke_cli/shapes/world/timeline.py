"""When things happen: stretches of time for events, and cuts between scenes."""

from __future__ import annotations

import numpy as np

# Two intervals of 32 evenly spread frames are 2/31 of a clip, and each event takes more.
SHORTEST = 0.085
# No event takes longer than this many of the shortest.
LONGEST = 2.6
# Rest between two events; about a cut there is one on both sides.
REST, CUT_REST = 0.025, 0.08
LAST = 0.965


def draw_timeline(
    inside: list[int], scenes: int, rng: np.random.Generator, shortest: float = SHORTEST
) -> tuple[list[tuple[float, float]], list[float]]:
    """Stretches of time for events in order, one after another.

    Args:
        inside: the scene of each event, ascending.
        scenes: how many scenes there are; each has an event, unless there is none at all.
        rng: draws what is left of the clip's length.
        shortest: what an event takes at least.

    Returns:
        (begin, finish) of each event, and the edges of the scenes [scenes + 1], from 0 to 1.
    """
    count = len(inside)
    rests = [CUT_REST if i and inside[i] != inside[i - 1] else REST for i in range(count)]
    spare = LAST - count * shortest - sum(rests)
    parts = rng.dirichlet(np.full(2 * count + 1, 0.8)) * spare
    slots, cuts, now = [], [0.0], 0.0
    for i in range(count):
        rest = rests[i] + parts[2 * i]
        if rests[i] == CUT_REST:
            cuts.append(now + rest / 2)
        begin = now + rest
        now = begin + min(shortest + parts[2 * i + 1], LONGEST * shortest)
        slots.append((float(begin), float(now)))
    return slots, [float(c) for c in [*cuts, 1.0]]
