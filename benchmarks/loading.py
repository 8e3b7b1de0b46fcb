"""How long a start takes: loading llava-onevision-0.5b in float32, and quantized to int8.

The weights are random, but in files, as downloaded ones are. Each start is a fresh process, whose
imports count; the configurations take turns. Prints a Markdown table; `--write FILE` also puts it
between the markers in FILE.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.page import put, where
from dycoke_cli.storage.cache_folder import ENVIRONMENT

NAME = "loading"
MODEL = "llava-onevision-0.5b"
_START = """
import os, sys
from dycoke_cli.models.load import load
dtype, quantize = sys.argv[2:]
load(sys.argv[1], device="cpu", dtype=dtype, quantize=quantize or None)
os._exit(0)
"""

ROWS = {
    "float32": ("float32", ""),
    "bfloat16": ("bfloat16", ""),
    "int8 and float32": ("float32", "int8"),
    "int8 and bfloat16": ("bfloat16", "int8"),
}
"""Arguments of `_START` by row."""


def write_checkpoint(folder: Path) -> None:
    """A folder that `from_pretrained` reads: the published configuration in bfloat16."""
    import torch

    from dycoke_cli.models.catalog import published
    from dycoke_cli.models.load import byte_processor, random_model
    from dycoke_cli.models.load_options import LoadOptions
    from dycoke_cli.models.resolve import resolve_model

    options = LoadOptions(device="cpu", dtype="bfloat16", random_weights=True)
    config: Any = resolve_model(MODEL, options).config
    random_model(config, torch.device("cpu"), torch.bfloat16).save_pretrained(folder)
    words = config.get_text_config().vocab_size
    byte_processor(published(MODEL), words).save_pretrained(folder)


def start(folder: Path, arguments: tuple[str, str]) -> tuple[float, float]:
    """Wall and processor seconds of a start."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", _START, str(folder), *arguments]) as process:
        used = 0.0
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                times = watched.cpu_times()
            except psutil.Error:  # it has ended meanwhile
                break
            used = max(used, times.user + times.system)
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"loading failed with {arguments}: run it by hand to see why")
    return time.perf_counter() - began, used


def table(runs: int, measure: Callable[[str], tuple[float, float]]) -> str:
    """Measure, and say what was measured where."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
    for _ in range(runs):
        for name, each in taken.items():
            each.append(measure(name))
    lines = ["| start | seconds | of float32 | processor seconds |", "|---|---|---|---|"]
    medians = {n: [statistics.median(x) for x in zip(*t, strict=True)] for n, t in taken.items()}
    first = next(iter(medians.values()))[0]
    for name, (waited, used) in medians.items():
        lines.append(f"| {name} | {waited:.1f} | {waited / first:.2f} | {used:.1f} |")
    said = (
        f"`{MODEL}`, random weights in files of bfloat16, imports included, medians of {runs} "
        f"runs, in turns. {where()}"
    )
    return "\n".join([*lines, "", said])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        os.environ[ENVIRONMENT] = str(Path(scratch, "cache"))
        write_checkpoint(folder)
        start(folder, ROWS["float32"])  # reads everything from disk
        measured = table(arguments.runs, lambda name: start(folder, ROWS[name]))
    print(measured)
    if arguments.write is not None:
        put(measured, NAME, arguments.write)


if __name__ == "__main__":
    main()
