"""Measures a server with a model, each method in turn; what is measured already isn't again."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.drawn import drawn
from benchmarks.json_lines import append_line, read_lines
from benchmarks.page import cores
from benchmarks.serving.checkpoints import checkpoint, features_of
from benchmarks.serving.load import Load, give
from benchmarks.serving.server import ON_CPU, VllmServer
from dycoke_cli.version import running_commit

NOTHING_CACHED = ("--no-enable-prefix-caching", "--mm-processor-cache-gb", "0")
FITTING = ("--limit-mm-per-prompt", '{"image": 0, "video": 1}', "--trust-request-mm-kwargs")
WITHOUT_COMPILER = ("--enforce-eager", "--distributed-executor-backend", "uni")
WORDS = 512
"""Tokens of a prompt beside its video, at most: with a tokenizer of bytes they are many."""


@dataclass(frozen=True)
class Course:
    """What is measured of a model."""

    model: str  # see `checkpoint`
    specs: tuple[str, ...]  # methods, the baseline first
    at_once: tuple[int, ...] = (1, 8, 32)  # requests in flight
    rounds: int = 1  # requests for each of them
    fewest: int = 24  # requests, whatever is in flight
    frames: int = 32  # of each request
    tokens: int = 16  # of each answer
    runs: int = 3  # of each method
    dtype: str = "auto"  # as vLLM takes it
    gpu: bool = False  # whether the server runs on one, with vLLM's usual settings

    def options(self) -> tuple[str, ...]:
        """Of `vllm serve`, beside those of the checkpoint."""
        _, per_frame, _ = features_of(self.model, self.frames)
        longest = self.frames * per_frame + WORDS + self.tokens
        room = ("--max-model-len", str(longest), "--max-num-seqs", str(max(self.at_once)))
        ours = () if self.gpu else WITHOUT_COMPILER
        return (*NOTHING_CACHED, *FITTING, *room, "--dtype", self.dtype, *ours)

    def turns(self) -> Iterator[tuple[int, Load]]:
        """Run and load of each measurement: in each run another method is the first."""
        for run in range(self.runs):
            for at_once in self.at_once:
                requests = max(self.fewest, self.rounds * at_once)
                for place in range(len(self.specs)):
                    spec = self.specs[(place + run) % len(self.specs)]
                    yield run, Load(spec, at_once, requests, self.tokens)


def measure(course: Course, file: Path) -> None:
    """Measure what isn't in the file yet, and add a row for each."""
    known = [*read_lines(file)]
    left = [(run, load) for run, load in course.turns() if not _has(known, course, run, load)]
    if not left:
        return
    clip, shape = drawn(course.frames).frames, features_of(course.model, course.frames)
    with tempfile.TemporaryDirectory() as folder:
        served, options = checkpoint(course.model, Path(folder) / "model")
        settings = {} if course.gpu else ON_CPU
        log = file.with_name(f"{course.model}.log")
        with VllmServer(served, log, (*course.options(), *options), settings) as server:
            give(server.url, replace(left[0][1], requests=1), clip)  # warms up
            for run, load in left:
                took = give(server.url, load, clip)
                ttft_s = [round(seconds, 4) for seconds in took.ttft_s]
                row = _key(course, run, load) | asdict(took) | {"ttft_s": ttft_s}
                row |= {"selection_s": selection_s(load.spec, *shape)}
                append_line(file, row | _circumstances())
                _say(f"{course.model}: {load.spec}, {load.at_once}: {took.seconds:.1f} s")


def selection_s(spec: str, frames: int, per_frame: int, width: int) -> float:
    """What a method takes to select the tokens of one video, on the processor; best of three."""
    import torch

    from dycoke_cli.compression.selection import SelectionInputs
    from dycoke_vllm.admission import admitted

    features = torch.randn(frames, per_frame, width, generator=torch.Generator().manual_seed(0))
    method, took = admitted(spec, "renumbered"), []
    for _ in range(3):
        started = time.perf_counter()
        method.select(SelectionInputs(features))
        took.append(time.perf_counter() - started)
    return min(took)


def _key(course: Course, run: int, load: Load) -> dict[str, Any]:
    about = {name: getattr(course, name) for name in ("model", "frames", "dtype", "gpu")}
    return about | asdict(load) | {"run": run}


def _has(rows: list[dict[str, Any]], course: Course, run: int, load: Load) -> bool:
    return any(row | _key(course, run, load) == row for row in rows)


def _circumstances() -> dict[str, Any]:
    packages = ("vllm", "torch", "transformers")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return {
        "commit": running_commit() or "unknown",
        "machine": cores(),
        "versions": f"{versions}, Python {platform.python_version()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load": round(os.getloadavg()[0], 1),
    }


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)
