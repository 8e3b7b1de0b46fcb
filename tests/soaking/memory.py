"""How much memory a run takes while it goes on: it mustn't grow with the number of clips."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.soaking.killing import lines_in

_EVERY_S = 0.5
# What a run may take more of in its last third than in the third before.
_GROWTH = 0.05


@dataclass(frozen=True)
class Sample:
    """A moment."""

    lines: int  # that were written
    bytes: int  # of memory that is resident, and nobody else's, in all processes of the run


def sampler(out: Path, samples: list[Sample]) -> Callable[[int], None]:
    """What takes a sample of a process with all its children, and waits a little."""

    def sample(pid: int) -> None:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            taken = sum(map(_own_bytes, [root, *root.children(recursive=True)]))
            samples.append(Sample(lines_in(out), taken))
        time.sleep(_EVERY_S)

    return sample


def growth(samples: Sequence[Sample], total: int) -> float:
    """By which share the last third took more than the third before."""
    thirds = [
        [s.bytes for s in samples if begin < s.lines / total <= begin + 1 / 3]
        for begin in (1 / 3, 2 / 3)
    ]
    middle, last = map(statistics.median, thirds)
    return last / middle - 1


def is_flat(samples: Sequence[Sample], total: int) -> bool:
    """Whether that is little."""
    return growth(samples, total) <= _GROWTH


def draw(runs: dict[str, Sequence[Sample]], path: Path) -> None:
    """Draw the memory of runs, by their names, over the share of them that is done."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    for name, samples in runs.items():
        of_all = max((s.lines for s in samples), default=0) or 1
        done = [100 * s.lines / of_all for s in samples]
        axes.plot(done, [s.bytes / 1e9 for s in samples], label=name)
    axes.set(xlabel="answered, %", ylabel="memory, GB", ylim=(0, None))
    axes.set_title("Memory of all processes of a run")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _own_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        known = process.memory_info()
        return max(0, known.rss - known.shared)
    return 0
