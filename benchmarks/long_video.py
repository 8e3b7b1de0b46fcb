"""Memory of `dycoke ask` over the length of a video: read in windows, and all frames at once.

A rendered video of 720p is asked about up to 2, 10, 30 and 60 minutes, at one frame a second, each
in a process of its own. Weights and loading aren't counted. Each run is kept in a file as it is
done, so that an interrupted measurement resumes. `--write` puts table and picture into
docs/long-video.md. Linux alone tells the memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import psutil
import typer

from benchmarks.loading import MODEL as LARGE
from benchmarks.loading import write_checkpoint
from benchmarks.page import ROOT, put, where

PAGE, PICTURE = ROOT / "docs" / "long-video.md", ROOT / "docs" / "long-video.png"
NAME = "long-video"
KEPT = ROOT / "runs" / "long-video.jsonl"
MINUTES = (2, 10, 30, 60)
WINDOWS, WHOLE = "windows", "all frames at once"
QUESTION = "What happens?"
_POLL_S = 0.05
_MB = 1e6


@dataclass(frozen=True)
class Run:
    """One answer."""

    # resident bytes of the process that has the model at the worst moment after it was loaded,
    # without weights
    peak: int
    decoder: int  # the same of the process that decodes
    seconds: float  # that the command took
    answer: dict[str, Any]  # the JSON object
    where: str  # it was measured


Runs = dict[tuple[str, str, int], Run]
"""By model, kind and minutes."""


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
    """Notes the memory of a process, and the peak of those below it, until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.below = 0
        self._own: list[tuple[float, int]] = []
        self._process = psutil.Process(pid)

    def run(self) -> None:
        """Sample."""
        try:
            while self._process.status() != psutil.STATUS_ZOMBIE:
                self._own.append((time.perf_counter(), self._process.memory_info().rss))
                children = self._process.children(recursive=True)
                self.below = max([self.below, *(self._resident(one) for one in children)])
                time.sleep(_POLL_S)
        except psutil.NoSuchProcess:
            return

    def own(self, last_s: float) -> int:
        """The peak of the process in its last seconds."""
        begin = self._own[-1][0] - last_s
        return max(rss for at, rss in self._own if at >= begin)

    def _resident(self, process: psutil.Process) -> int:
        try:
            return int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0


def ask(video: Path, minutes: int, flags: list[str]) -> Run:
    """Ask about the first minutes of a video."""
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
    seconds = time.perf_counter() - started
    # Files of weights are in memory while they are loaded, whatever the video is.
    peak = peaks.own(answer["seconds"]["total"])
    return Run(peak - weights, peaks.below, seconds, answer, where())


def table(runs: dict[tuple[str, int], Run], about: str) -> str:
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
            f"{about}, DyCoke-plus, 720p at one frame a second. Peaks are resident memory of the "
            f"process with the model, without its weights. "
            + " ".join(dict.fromkeys(run.where for run in runs.values())),
        ]
    )


def draw(runs: Runs, path: Path) -> None:
    """Peaks over length, of all models that were measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for model, kind in dict.fromkeys((model, kind) for model, kind, _ in runs):
        found = [
            (at, run.peak / _MB) for (m, k, at), run in runs.items() if (m, k) == (model, kind)
        ]
        if len(found) > 1:
            label = f"{model}, {kind}"
            axes.plot(*zip(*sorted(found), strict=True), marker="o", linewidth=1.2, label=label)
    axes.set_ylim(0, 1.2 * max(run.peak for run in runs.values()) / _MB)
    axes.set_xlabel("minutes of video, one frame a second")
    axes.set_ylabel("peak without weights, MB")
    axes.set_title("dycoke ask", fontsize=10)
    axes.legend()
    figure.savefig(path, dpi=120)


def read_kept(path: Path) -> Runs:
    """The runs that were kept; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = (json.loads(line) for line in lines)
    return {(one["model"], one["kind"], one["minutes"]): Run(**one["run"]) for one in rows}


def main(
    model: Annotated[str, typer.Option(help="A model's name.")] = "mini",
    minutes: Annotated[list[int] | None, typer.Option(help="A length; repeat it.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Visual tokens that are read.")] = 448,
    tower_layers: Annotated[
        int | None,
        typer.Option(help=f"{LARGE} with random weights, and so many layers of its tower."),
    ] = None,
    whole: Annotated[bool, typer.Option(help="Also all frames at once.")] = True,
    keep: Annotated[Path, typer.Option(help="File of the runs that are done.")] = KEPT,
    write: Annotated[bool, typer.Option("--write", help="Into docs/.")] = False,
) -> None:
    """Measure, print the table, draw the picture."""
    lengths = sorted(minutes or MINUTES)
    runs = read_kept(keep)
    keep.parent.mkdir(parents=True, exist_ok=True)
    name, about = model, f"`{model}`"
    if tower_layers is not None:
        name, about = LARGE, f"`{LARGE}`, random weights, {tower_layers} of the tower's layers"
    with tempfile.TemporaryDirectory() as scratch:
        folder, video = Path(scratch, "model"), Path(scratch, "long.mp4")

        def run(kind: str, length: int, *flags: str) -> Run:
            if (name, kind, length) not in runs:
                if tower_layers is not None and not folder.exists():
                    write_checkpoint(folder, tower_layers)
                if not video.exists():
                    render(video, lengths[-1])
                chosen = f"{folder}" if tower_layers is not None else model
                done = ask(video, length, ["--model", chosen, *flags])
                line = {"model": name, "kind": kind, "minutes": length, "run": asdict(done)}
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                runs[name, kind, length] = done
                print(f"{length} minutes, {kind}: {done.peak / _MB:,.0f} MB", file=sys.stderr)
            return runs[name, kind, length]

        for length in lengths:
            done = run(WINDOWS, length, "--max-tokens", f"{max_tokens}")
            # As many tokens are read, so that the language model takes as much.
            if whole and length in (lengths[0], lengths[-1]):
                retain = max_tokens / done.answer["tokens"]["visual"]
                run(WHOLE, length, "--retain", f"{retain:.6f}")
    text = table({(k, at): one for (m, k, at), one in runs.items() if m == name}, about)
    print(text)
    if write:
        put(text, NAME if tower_layers is None else f"{NAME} of {LARGE}", PAGE)
        draw(runs, PICTURE)


if __name__ == "__main__":
    typer.run(main)
