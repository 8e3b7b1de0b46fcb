"""Memory of `dycoke ask` over the length of a video: read in windows, and all frames at once.

A rendered video of 720p is asked about up to 2, 10, 30 and 60 minutes, at one frame a second, each
in a process of its own. Weights aren't counted. `--write` puts table and picture into
docs/long-video.md. Linux alone tells the memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import psutil
import typer

from benchmarks.page import ROOT, put, where

PAGE, PICTURE = ROOT / "docs" / "long-video.md", ROOT / "docs" / "long-video.png"
NAME = "long-video"
MINUTES = (2, 10, 30, 60)
WINDOWS, WHOLE = "windows", "all frames at once"
QUESTION = "What happens?"
_POLL_S = 0.05
_MB = 1e6


@dataclass(frozen=True)
class Run:
    """One answer.

    Args:
        peak: resident bytes of the process that has the model at the worst moment, without weights.
        decoder: the same of the process that decodes.
        seconds: that the command took.
        answer: the JSON object.
    """

    peak: int
    decoder: int
    seconds: float
    answer: dict[str, Any]


def render(path: Path, minutes: int) -> Path:
    """Write a video of 720p with a frame a second: a square that moves over a few pictures."""
    width, height = 1280, 720
    noise = np.random.default_rng(0).integers(40, 200, (4, height // 16, width // 16), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "30", "g": "60"}
        for number in range(60 * minutes):
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = noise[number // 300 % 4].repeat(16, 0).repeat(16, 1)
            left = 32 * number % (width - 128)
            planes[256:384, left : left + 128] = 235
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class Peaks(threading.Thread):
    """Notes the peaks of a process and of those below it, until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.own = self.below = 0
        self._process = psutil.Process(pid)

    def run(self) -> None:
        """Sample."""
        try:
            while self._process.status() != psutil.STATUS_ZOMBIE:
                self.own = max(self.own, self._process.memory_info().rss)
                children = self._process.children(recursive=True)
                self.below = max([self.below, *(self._resident(one) for one in children)])
                time.sleep(_POLL_S)
        except psutil.NoSuchProcess:
            return

    def _resident(self, process: psutil.Process) -> int:
        try:
            return int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0


def ask(video: Path, minutes: int, flags: list[str]) -> Run:
    """Ask about the first minutes of a video.

    Args:
        video: the file.
        minutes: how many.
        flags: more of them.
    """
    command = [
        *(sys.executable, "-m", "dycoke_cli", "ask", f"{video}", QUESTION),
        *("--fps", "1", "--end", f"{minutes}:00", "--method", "dycoke-plus", "--device", "cpu"),
        *("--json", "--quiet", "--no-server", "--max-new-tokens", "8", *flags),
    ]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        peaks = Peaks(process.pid)
        peaks.start()
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())
    peaks.join()
    if "error" in answer:
        raise SystemExit(answer["error"]["message"])
    weights = answer["bytes"]["weights"]
    return Run(peaks.own - weights, peaks.below, time.perf_counter() - started, answer)


def table(runs: dict[tuple[str, int], Run], model: str) -> str:
    """Markdown: a row per length."""
    lines = [
        "| minutes | frames | windows | visual tokens | kept by windows | read "
        "| peak in windows, MB | to the shortest | all frames at once, MB | decoder, MB | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lengths = sorted({minutes for _, minutes in runs})
    shortest = runs[WINDOWS, lengths[0]].peak
    for minutes in lengths:
        run, whole = runs[WINDOWS, minutes], runs.get((WHOLE, minutes))
        tokens, windows = run.answer["tokens"], run.answer["windows"]
        lines.append(
            f"| {minutes} | {run.answer['frames']['count']:,} "
            f"| {windows['count']} of {windows['frames']} | {tokens['visual']:,} "
            f"| {windows['visual_kept']:,} | {tokens['visual_kept']:,} "
            f"| {run.peak / _MB:,.0f} | {run.peak / shortest:.0%} "
            f"| {'–' if whole is None else f'{whole.peak / _MB:,.0f}'} "
            f"| {run.decoder / _MB:,.0f} | {run.seconds:,.0f} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"`{model}`, DyCoke-plus, 720p at one frame a second. Peaks are resident memory of the "
            f"process with the model, without its weights. {where()}",
        ]
    )


def draw(runs: dict[tuple[str, int], Run], model: str, path: Path) -> None:
    """Peaks over length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for kind in (WHOLE, WINDOWS):
        found = [(at, run.peak / _MB) for (k, at), run in runs.items() if k == kind]
        if found:
            axes.plot(*zip(*sorted(found), strict=True), marker="o", linewidth=1.2, label=kind)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes of video, one frame a second")
    axes.set_ylabel("peak without weights, MB")
    axes.set_title(f"dycoke ask, {model}", fontsize=10)
    axes.legend()
    figure.savefig(path, dpi=120)


def main(
    model: Annotated[str, typer.Option(help="A model's name.")] = "mini",
    minutes: Annotated[list[int] | None, typer.Option(help="A length; repeat it.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Visual tokens that are read.")] = 448,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="No download.")] = False,
    whole: Annotated[bool, typer.Option(help="Also all frames at once.")] = True,
    write: Annotated[bool, typer.Option("--write", help="Into docs/.")] = False,
) -> None:
    """Measure, print the table, draw the picture."""
    lengths = sorted(minutes or MINUTES)
    flags = ["--model", model, *(["--random-weights"] if random_weights else [])]
    runs: dict[tuple[str, int], Run] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = render(Path(folder) / "long.mp4", lengths[-1])
        for length in lengths:
            run = ask(video, length, [*flags, "--max-tokens", f"{max_tokens}"])
            runs[WINDOWS, length] = run
            # As many tokens are read, so that the language model takes as much.
            if whole and length in (lengths[0], lengths[-1]):
                retain = max_tokens / run.answer["tokens"]["visual"]
                runs[WHOLE, length] = ask(video, length, [*flags, "--retain", f"{retain:.6f}"])
            print(f"{length} minutes are done: {run.peak / _MB:,.0f} MB", file=sys.stderr)
    text = table(runs, model)
    print(text)
    if write:
        put(text, NAME, PAGE)
        draw(runs, model, PICTURE)


if __name__ == "__main__":
    typer.run(main)
