"""What memory an answer takes, next to plain transformers: `python -m benchmarks.memory MODEL`.

Each row comes from a process of its own, so that nothing that was there before counts: its memory
once the model is loaded and the frames are drawn, and at its peak while it answers. On CUDA that is
what the allocator has given out, on Linux CPUs the resident memory of the process, weights and
libraries included. With `--random-weights` no weights are needed: memory and speed are the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import psutil
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
    """Bytes before one answer and at its peak, and its seconds, in this process."""
    from dycoke_cli import DyCoke, VideoSession, load
    from dycoke_cli.engine.stopwatch import Stopwatch
    from dycoke_cli.verification.running import plain

    loaded = load(model, random_weights=random_weights)
    session = VideoSession(loaded, drawn(frames))
    parameters = METHODS[method]
    watch, taken = Stopwatch(loaded.input_device), Taken(loaded.input_device)
    if parameters is None:
        plain(session, QUESTION, NEW_TOKENS)
    else:
        if loaded.family.counts_tokens is False:
            parameters = {"positions": "kept", **parameters}
        session.ask(QUESTION, DyCoke(**parameters), max_new_tokens=NEW_TOKENS)
    return {
        "before": taken.before,
        "peak": taken.peak(),
        "seconds": watch.read(),
        "device": loaded.device,
    }


class Taken:
    """Memory on a device, from its making on.

    Attributes:
        before: bytes at its making.

    Args:
        device: where the model is.
    """

    def __init__(self, device: Any) -> None:
        import torch

        self._gpu = device if device.type == "cuda" else None
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)
            self.before = torch.cuda.memory_allocated(self._gpu)
            return
        try:
            # proc(5): the peak of resident memory begins anew.
            Path("/proc/self/clear_refs").write_text("5")
        except OSError as error:
            raise SystemExit(
                f"the peak of resident memory can't be measured here: {error}"
            ) from error
        self.before = psutil.Process().memory_info().rss

    def peak(self) -> int:
        """Bytes at the peak so far."""
        import torch

        if self._gpu is not None:
            return torch.cuda.max_memory_allocated(self._gpu)
        lines = Path("/proc/self/status").read_text().splitlines()
        (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return peak * 1024


def table(model: str, rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    device = rows[0]["device"]
    lines = [
        f"| {model}, frames | method | before, GB | at the peak, GB | grown by, GB | seconds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['frames']} | {row['method']} | {row['before'] / 1e9:.2f} | "
        f"{row['peak'] / 1e9:.2f} | {(row['peak'] - row['before']) / 1e9:.2f} | "
        f"{row['seconds']:.1f} |"
        for row in rows
    ]
    what = "Memory of the allocator" if device.startswith("cuda") else "Resident memory"
    return "\n".join([*lines, "", f"{what} on {device}; one process per row. {where()}"])


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
            if "host" in method and rows and rows[0]["device"] == "cpu":
                continue  # on a CPU it is the same memory
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
