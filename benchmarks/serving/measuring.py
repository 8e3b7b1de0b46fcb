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
from benchmarks.serving.checkpoints import BUNDLED, checkpoint, features_of
from benchmarks.serving.load import Load, give
from benchmarks.serving.server import ON_CPU, DycokeServer, Server, VllmServer
from dycoke_cli.version import running_commit

NOTHING_CACHED = ("--no-enable-prefix-caching", "--mm-processor-cache-gb", "0")
FITTING = ("--limit-mm-per-prompt", '{"image": 0, "video": 1}', "--trust-request-mm-kwargs")
WITHOUT_COMPILER = ("--enforce-eager", "--distributed-executor-backend", "uni")
_OF_COURSE = ("server", "model", "frames", "dtype", "gpu")
"""What a row has of a course."""
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
    dtype: str = "auto"  # as the server takes it
    gpu: bool = False  # whether the server runs on one, with vLLM's usual settings
    server: str = "vllm"  # or "dycoke"

    def options(self) -> tuple[str, ...]:
        """Of `vllm serve`, beside those of the checkpoint."""
        _, per_frame, _ = features_of(self.model, self.frames)
        longest = self.frames * per_frame + WORDS + self.tokens
        room = ("--max-model-len", str(longest), "--max-num-seqs", str(max(self.at_once)))
        ours = () if self.gpu else WITHOUT_COMPILER
        return (*NOTHING_CACHED, *FITTING, *room, "--dtype", self.dtype, *ours)

    def serve(self, folder: Path, log: Path) -> Server:
        """The server, which isn't started yet.

        Args:
            folder: a new one, for the checkpoint.
            log: what the server writes.
        """
        if self.server == "dycoke":
            named = ("--model", self.model, "--dtype", self.dtype)
            drawn = () if self.model == BUNDLED else ("--random-weights",)
            return DycokeServer(folder.parent, log, (*named, *drawn, "--queue", "1024"))
        served, options = checkpoint(self.model, folder)
        settings = {} if self.gpu else ON_CPU
        return VllmServer(served, log, (*self.options(), *options), settings)

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
        log = file.with_name(f"{course.server}-{course.model}.log")
        to_the_end = course.server == "vllm"
        with course.serve(Path(folder) / "model", log) as server:
            # Warms up, by every method and as many at once as there will be.
            for spec in course.specs:
                most = replace(left[0][1], spec=spec, requests=max(course.at_once))
                give(server.url, most, clip, ignore_eos=to_the_end)
            for run, load in left:
                took = give(server.url, load, clip, ignore_eos=to_the_end)
                row = _key(course, run, load) | asdict(took)
                for times in ("ttft_s", "tpot_s"):
                    row[times] = [round(seconds, 4) for seconds in row[times]]
                row |= {"selection_s": selection_s(load.spec, *shape)}
                append_line(file, row | _circumstances(course.server))
                _say(f"{course.model}: {load.spec}, {load.at_once}: {took.seconds:.1f} s")


def selection_s(spec: str, frames: int, per_frame: int, width: int) -> float:
    """What a method takes to select the tokens of one video, on the processor; best of three."""
    import torch

    from dycoke_cli.compression.method import SelectionInputs, with_model_defaults
    from dycoke_cli.compression.registry import create, parse_spec
    from dycoke_cli.engine.selecting import selected

    given = parse_spec(spec)
    features = torch.randn(frames, per_frame, width, generator=torch.Generator().manual_seed(0))
    method, took = with_model_defaults(create(given.method, **given.given), {}), []
    for _ in range(3):
        started = time.perf_counter()
        selected(method, SelectionInputs(features))
        took.append(time.perf_counter() - started)
    return min(took)


def _key(course: Course, run: int, load: Load) -> dict[str, Any]:
    about = {name: getattr(course, name) for name in _OF_COURSE}
    return about | asdict(load) | {"run": run}


def _has(rows: list[dict[str, Any]], course: Course, run: int, load: Load) -> bool:
    return any(row | _key(course, run, load) == row for row in rows)


def _circumstances(server: str) -> dict[str, Any]:
    packages = (*(("vllm",) if server == "vllm" else ()), "torch", "transformers")
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
