"""What `--estimate` says, beside what answers took: seconds by stage, and the peak of the process.

Seconds are processor time of one thread, of the kernels that are timed as well as of the answers:
on a machine that is shared, what else runs hardly changes it. Prints a Markdown table; `--write`
also puts it into docs/data/tables.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

from benchmarks.kept_tables import keep
from benchmarks.page import ROOT, where

NAME = "estimates"
RUNS = {"mini": 5, "llava-onevision-0.5b": 1}
FRAMES = (8, 32)
METHODS = ("none", "dycoke")
NEW = 32
_SIDE = 384
_STAGES = ("vision", "prefill", "token", "peak")


def measured(name: str, frames: int, method: str) -> dict[str, dict[str, float]]:
    """What an answer takes, and what is estimated, in this process, which should be a fresh one."""
    time.perf_counter = time.process_time  # for the engine's stages, and for the kernels'
    from dycoke_cli import resources

    resources.is_overloaded = lambda: False  # before anything takes it from there
    import numpy as np

    from benchmarks.resident import peak
    from dycoke_cli import VideoSession, load
    from dycoke_cli.cli.commands.estimate import cost_of_frames
    from dycoke_cli.compression.registry import create
    from dycoke_cli.engine.generation_options import GenerationOptions
    from dycoke_cli.models.load_options import LoadOptions
    from dycoke_cli.request import Request
    from dycoke_cli.video import Sampling
    from tests.natural import Pictures

    chosen = create(method)
    options: dict[str, Any] = {"device": "cpu", "random_weights": name != "mini"}

    def ask(model: str, count: int, **options: Any) -> Any:
        shape = (count, _SIDE, _SIDE, 3)
        pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        clip = Pictures(pictures, tuple(map(float, range(count))))
        session = VideoSession(load(model, **options), clip, reuse=False)
        return session.ask("What happens in the video?", chosen, max_new_tokens=NEW)

    ask("mini", 4, device="cpu")  # libraries load and compile parts of theirs when first used
    answers = [ask(name, frames, **options) for _ in range(RUNS[name])]
    reached = peak()
    request = Request(
        name, LoadOptions(**options), Sampling(), chosen, GenerationOptions(max_new_tokens=NEW)
    )
    cost = cost_of_frames(request, frames, _SIDE, _SIDE)
    said = cost.seconds
    if said is None or said.vision is None:
        raise SystemExit(f"no seconds are predicted: {cost.no_seconds}")
    return {
        "predicted": {
            "vision": said.vision,
            "prefill": said.prefill,
            "token": said.decode / (NEW - 1),
            "peak": cost.bytes.peak,
        },
        "measured": {
            "vision": median(answer.seconds.vision for answer in answers),
            "prefill": median(answer.seconds.prefill for answer in answers),
            "token": median(a.seconds.decode / (a.tokens.generated - 1) for a in answers),
            "peak": reached or 0,
        },
    }


def row(name: str, frames: int, method: str, cache: str) -> str:
    """A line of the table, of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.estimates", "--one", name, str(frames), method]
    threads = {"OMP_NUM_THREADS": "1", "DYCOKE_CACHE": cache}
    done = subprocess.run(
        command, env={**os.environ, **threads}, cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    found = json.loads(done.stdout.splitlines()[-1])
    cells = []
    for stage in _STAGES:
        scale, digits = {"token": (1000, "#.3g"), "peak": (1e-9, ".2f")}.get(stage, (1, "#.3g"))
        said, took = (found[kind][stage] for kind in ("predicted", "measured"))
        cells.append(f"{said * scale:{digits}} / {took * scale:{digits}} ({said / took:.2f})")
    return f"| {name} | {frames} | {method} | {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="also into docs/data/tables")
    arguments = parser.parse_args()
    if arguments.one:
        name, frames, method = arguments.one
        print(json.dumps(measured(name, int(frames), method)))
        return
    lines = [
        "| model | frames | method | vision, s | prefill, s | a decoded token, ms | peak, GB |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as cache:
        for name in RUNS:
            for frames in FRAMES:
                for method in METHODS:
                    lines.append(row(name, frames, method, cache))
                    print(lines[-1], file=sys.stderr)
    notes = (
        f"Predicted / measured (ratio). {NEW} new tokens at most, one answer (bundled model: "
        "medians of 5) in fresh processes that answered about 4 frames before; the 0.5B has "
        "random weights. "
        "Seconds: processor time of one thread, for the machine was shared; peak: of the process, "
        "by Linux (VmHWM)."
    )
    table = "\n".join([*lines, "", f"{notes} {where()}"])
    print(table)
    if arguments.write:
        keep(table, NAME)


if __name__ == "__main__":
    main()
