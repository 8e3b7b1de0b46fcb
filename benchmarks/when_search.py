"""What the search of `--when` finds, and how much it asks, if the model makes no mistake.

In place of a model, the true times of events decide whether the answer about a part is yes. Prints
a Markdown table; `--write` also puts it into docs/data/tables.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cells import head, line
from benchmarks.kept_tables import report
from dycoke_cli.runs.parts import Part, TimeSearch, usual_window_s

NAME = "when-search"
VIDEOS = 200
"""Of each row, from 1 to 20 minutes long."""
NEAR = 2 / 32
"""How far an edge may be from the true one, in windows."""
ROWS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "no event": ((), ()),
    "1 of 1/32 of a window": ((1 / 32,), ()),
    "1 of half a window": ((0.5,), ()),
    "1 of a window": ((1,), ()),
    "1 of 4 windows": ((4,), ()),
    "2, and 1/4 of a window between them": ((0.1, 1), (0.25,)),
    "2, and 3/8 of a window between them": ((0.1, 1), (0.375,)),
    "2, and 1/2 of a window between them": ((0.1, 1), (0.5,)),
    "2, and a window between them": ((0.1, 1), (1,)),
    "4, and 1/2 to 2 windows between them": ((0.1, 1), (0.5, 2)),
}
"""By its title: the lengths of its events (two: from, to), and what is between them, in windows."""
COUNTS = {"no": 0, "1": 1, "2": 2, "4": 4}


@dataclass
class Faultless:
    """A model that is right about each part."""

    events: Sequence[Part]  # their times
    whole: bool  # an event must be seen whole; else it is seen in any part of it
    asked: int = 0

    def yes(self, start: float, end: float) -> float:
        """Probability of yes about a part."""
        self.asked += 1
        if self.whole:
            return float(any(start <= a and b <= end for a, b in self.events))
        return float(any(start < b and a < end for a, b in self.events))


def made(title: str, chance: random.Random) -> tuple[TimeSearch, list[Part]]:
    """A video of a row and its events."""
    length = chance.uniform(60, 1200)
    search = TimeSearch(0.0, length, usual_window_s(length))
    lengths, gaps = ROWS[title]
    while True:
        events, time = list[Part](), chance.uniform(0, length)
        for _ in range(COUNTS[title.split()[0].rstrip(",")]):
            end = time + chance.uniform(lengths[0], lengths[-1]) * search.window_s
            events.append((time, end))
            time = end + chance.uniform(gaps[0], gaps[-1]) * search.window_s if gaps else end
        if all(end <= length for _, end in events):
            return search, events


def is_found(search: TimeSearch, model: Faultless) -> bool:
    """Whether the ranges that the search finds are the events."""
    near, found = NEAR * search.window_s, search.ranges(model.yes)
    return len(found) == len(model.events) and all(
        abs(one.start - start) <= near and abs(one.end - end) <= near
        for one, (start, end) in zip(found, model.events, strict=True)
    )


def table() -> str:
    """A row for each kind of video."""
    counts = ("visible: found", "questions", "to be seen whole: found", "questions")
    lines = head("events", *counts)
    for title in ROWS:
        cells = [title]
        for whole in (False, True):
            chance, found, asked = random.Random(title), 0, 0
            for _ in range(VIDEOS):
                search, events = made(title, chance)
                model = Faultless(events, whole)
                found += is_found(search, model)
                asked += model.asked
            cells += [f"{100 * found / VIDEOS:.0f} %", f"{asked / VIDEOS:.0f}"]
        lines.append(line(*cells))
    return "\n".join(
        [
            *lines,
            "",
            f"{VIDEOS} random videos of 1 to 20 minutes per row, windows of the usual length. "
            "Found: as many ranges as events, each edge within 1/16 of a window of the true one.",
        ]
    )


if __name__ == "__main__":
    report(__doc__, lambda: {NAME: table()})
