"""What memory an answer takes, next to plain transformers: `python -m benchmarks.memory MODEL`.

Each figure comes from a process of its own, so that nothing that was there before counts. On CUDA
the allocator's peak is taken, on a CPU the rise of resident memory. Frames are drawn: no video
decoder is needed. With `--random-weights` no weights are, either: memory and speed are the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.drawn import drawn
from benchmarks.page import ROOT, put, where

ITSELF = [sys.executable, "-m", "benchmarks.memory"]
QUESTION = "What happens in the video?"
NEW_TOKENS = 16
PAGE = ROOT / "docs" / "memory.md"
# The parameters of DyCoke, or None for the stock model without a session.
METHODS: dict[str, dict[str, Any] | None] = {
    "plain transformers": None,
    "none": {"ttm": False, "kv_prune": False},
    "dycoke": {},
    "dycoke, dp_cache host": {"dp_cache": "host"},
}


def measured(model: str, method: str, frames: int, *, random_weights: bool) -> dict[str, Any]:
    """Peak bytes and seconds of one answer, in this process."""
    from dycoke_cli import DyCoke, VideoSession, load
    from dycoke_cli.engine.memory import PeakMemory
    from dycoke_cli.engine.stopwatch import Stopwatch
    from dycoke_cli.verification.running import plain

    loaded = load(model, random_weights=random_weights)
    session = VideoSession(loaded, drawn(frames))
    device = loaded.model.device
    peak, watch = PeakMemory(device, loaded.weights_bytes), Stopwatch(device)
    parameters = METHODS[method]
    if parameters is None:
        plain(session, QUESTION, NEW_TOKENS)
    else:
        if loaded.family.counts_tokens is False:
            parameters = {"positions": "kept", **parameters}
        session.ask(QUESTION, DyCoke(**parameters), max_new_tokens=NEW_TOKENS)
    working, total = peak.read()
    return {"working": working, "total": total, "seconds": watch.read(), "device": loaded.device}


def table(model: str, rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, each next to plain transformers at the same number of frames."""
    lines = [
        f"| {model}, frames | method | working memory | of plain | in all | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        whole = next(
            r for r in rows if r["frames"] == row["frames"] and METHODS[r["method"]] is None
        )
        lines.append(
            f"| {row['frames']} | {row['method']} | {row['working'] / 1e9:.2f} GB | "
            f"{row['working'] / whole['working']:.0%} | {row['total'] / 1e9:.2f} GB | "
            f"{row['seconds']:.1f} |"
        )
    device = rows[0]["device"]
    return "\n".join([*lines, "", f"On {device}; one process a row. {where()}"])


def main(
    model: Annotated[str, typer.Argument(help="As --model takes it.")],
    frames: Annotated[
        list[int] | None, typer.Option("--frames", help="32; may be given several times.")
    ] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights")] = False,
    write: Annotated[bool, typer.Option("--write", help="Into docs/memory.md.")] = False,
    one: Annotated[str | None, typer.Option("--one", hidden=True)] = None,
) -> None:
    """Measure, print the table, and put it into its page."""
    frames = frames or [32]
    if one is not None:
        print(json.dumps(measured(model, one, frames[0], random_weights=random_weights)))
        return
    rows = []
    for count in frames:
        for method in METHODS:
            command = [*ITSELF, model, "--frames", str(count), "--one", method]
            command += ["--random-weights"] if random_weights else []
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                raise SystemExit(f"{method} at {count} frames failed: {run.stderr.strip()}")
            rows.append(
                {"frames": count, "method": method, **json.loads(run.stdout.splitlines()[-1])}
            )
            print(json.dumps(rows[-1]), file=sys.stderr)
    text = table(model, rows)
    print(text)
    if write:
        put(text, "memory", Path(PAGE))


if __name__ == "__main__":
    typer.run(main)
