"""How fast `dycoke batch` is: next to a shell loop of `dycoke ask`, one by one, and on Ray.

They take turns, so that what else the machine does hits all of them; each is a process (the
loop one a clip), timed from its start to its end. Resident memory of the batch and all its
processes is noted over its last run, and drawn. `--write` puts table and picture into docs/.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer

from benchmarks.page import ROOT, put, where

DYCOKE = [sys.executable, "-m", "dycoke_cli"]
QUESTION = "What happens?"
FLAGS = ("--model", "mini", "--device", "cpu", "--quiet")
# Of one picture size, as clips of one camera are.
CLIPS = ("appear", "move", "three", "turn", "uneven", "vanish")
BATCHES = {
    "`dycoke batch --batch-size 1`": ("--batch-size", "1"),
    "`dycoke batch`": (),
    "`dycoke batch --engine ray`": ("--engine", "ray"),
}
LOOP = "shell loop of `dycoke ask`"
ONE_BY_ONE, LOCAL, _ = BATCHES
PAGE, PICTURE = ROOT / "docs" / "speed.md", ROOT / "docs" / "batch.png"
SAMPLE_EVERY_S = 0.25


@dataclass(frozen=True)
class Timed:
    """A run."""

    questions: int  # that were answered
    seconds: float  # that it took

    @property
    def rate(self) -> float:
        """Questions a second."""
        return self.questions / self.seconds


class Memory:
    """Notes the resident memory of a process and all below it, until the process ends."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, float]] = []
        self._pid = pid
        self._thread = threading.Thread(target=self._note)
        self._thread.start()

    def join(self) -> list[tuple[float, float]]:
        """Seconds and megabytes, once the process has ended."""
        self._thread.join()
        return self.samples

    def _note(self) -> None:
        started = time.perf_counter()
        while resident := _resident(self._pid):
            self.samples.append((time.perf_counter() - started, resident / 1e6))
            time.sleep(SAMPLE_EVERY_S)


def clips_in(folder: Path, count: int) -> list[Path]:
    """So many clips, copies of the samples in turn."""
    clips = []
    for number in range(count):
        clips.append(folder / f"{number:05}.mp4")
        shutil.copy(ROOT / "sample_videos" / f"{CLIPS[number % len(CLIPS)]}.mp4", clips[-1])
    return clips


def loop(clips: list[Path]) -> Timed:
    """`dycoke ask`, a process a clip."""
    started = time.perf_counter()
    for clip in clips:
        subprocess.run(
            [*DYCOKE, "ask", str(clip), QUESTION, *FLAGS, "--json"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return Timed(len(clips), time.perf_counter() - started)


def batch(clips: list[Path], more: tuple[str, ...]) -> tuple[Timed, list[tuple[float, float]]]:
    """`dycoke batch` over the same folder, with more flags; its time and its memory."""
    command = [*DYCOKE, "batch", str(clips[0].parent), QUESTION, *more, *FLAGS]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out)
        memory = Memory(process.pid)
        code = process.wait()
        seconds = time.perf_counter() - started
        samples = memory.join()
        out.seek(0)
        lines = len(out.readlines())
    if code or lines != len(clips):
        raise SystemExit(f"{' '.join(command)} failed: run it by hand to see why")
    return Timed(lines, seconds), samples


def table(runs: dict[str, list[Timed]]) -> str:
    """Medians as Markdown, each next to the loop, one by one, and the local engine."""
    rates = {name: statistics.median(run.rate for run in done) for name, done in runs.items()}
    lines = ["| | questions/s | vs. loop | vs. batch size 1 | vs. local |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} ({runs[name][0].questions} clips) | {rate:.2f} | {rate / rates[LOOP]:.1f}x | "
        f"{rate / rates[ONE_BY_ONE]:.2f}x | {rate / rates[LOCAL]:.0%} |"
        for name, rate in rates.items()
    ]
    rounds = len(next(iter(runs.values())))
    return "\n".join(
        [
            *lines,
            "",
            f"Bundled model, {QUESTION!r} to clips of 256×256, 32 frames each; medians of "
            f"{rounds} interleaved runs, process start and model loading included. "
            f"{where()}",
        ]
    )


def draw(samples: list[tuple[float, float]], clips: int, path: Path) -> None:
    """The memory of a run as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*samples, strict=True), linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("resident, MB")
    axes.set_title(f"dycoke batch, {clips:,} clips, all processes", fontsize=10)
    figure.savefig(path, dpi=120)


def _resident(pid: int) -> int:
    """Bytes of a process and those below it; 0 once it has ended."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return 0
        return sum(map(_of_one, [process, *process.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def _of_one(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # ended meanwhile
        return 0


def main(
    clips: Annotated[int, typer.Option(help="Of a batch.")] = 300,
    looped: Annotated[int, typer.Option(help="Of the loop, which is slow.")] = 10,
    rounds: Annotated[int, typer.Option(help="Of all in turn.")] = 3,
    write: Annotated[bool, typer.Option("--write", help="Into docs/.")] = False,
) -> None:
    """Measure, print the table, draw the picture."""
    runs: dict[str, list[Timed]] = {name: [] for name in (LOOP, *BATCHES)}
    samples: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = clips_in(Path(folder), clips)
        for number in range(rounds):
            runs[LOOP].append(loop(files[:looped]))
            for name, more in BATCHES.items():
                timed, memory = batch(files, more)
                runs[name].append(timed)
                samples = memory if name == LOCAL else samples
            print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    text = table(runs)
    print(text)
    if write:
        put(text, "batch", PAGE)
        draw(samples, clips, PICTURE)


if __name__ == "__main__":
    typer.run(main)
