"""All that there is for CUDA, in one command: `make gpu`, or `python3 -m benchmarks.gpu [STAGE …]`.

The stages: `tests` runs the tests that need a CUDA device; `speed-32` and `speed-128` answer about
so many frames with a model of 7 B and random weights; `vllm` has vLLM serve that model under load,
and is skipped where vLLM and the plug-in for it (docs/serve.md) aren't installed. Each runs in a
process of its own, for nine minutes at most. What is done is kept in `runs/gpu`, for one commit,
device and version of the libraries: a stage that was interrupted resumes, one that is done isn't
run again. All but the last take torch, transformers and pytest, no virtual environment, no decoder
and no network: frames are drawn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
import transformers

from benchmarks.page import ROOT, put
from benchmarks.speed.course import Course
from benchmarks.speed.journal import Journal
from benchmarks.speed.tables import OF_GPU_MEMORY, OF_GPU_SPEED, page
from dycoke_cli.version import running_commit

CUDA_TESTS = (
    "tests/families/test_cuda.py",
    "tests/families/test_elsewhere.py",
)
TESTS = "tests.json"
SERVING, DONE = "vllm", "done"
RESUMES = "run it again, and it resumes"


@dataclass(frozen=True)
class Plan:
    """What is run, on what, and where it is written."""

    model: str = "llava-onevision-7b"  # a published configuration, or the bundled model
    device: str = "cuda"  # as `load` takes it
    dtype: str = "bfloat16"  # of the weights
    frames: tuple[int, ...] = (32, 128)  # of the videos, a stage each
    runs: int = 3  # of each configuration, in turn
    tokens: int = 64  # of an answer
    tests: tuple[str, ...] = ("-m", "cuda", "-rfs", *CUDA_TESTS)  # arguments of pytest
    # arguments of `benchmarks.serving`; its folder comes behind them
    serving: tuple[str, ...] = (
        "--server", "vllm", "--gpu", "--model", "llava-onevision-7b", "--write", "--out",
    )  # fmt: skip
    state: Path = ROOT / "runs" / "gpu"  # folder of what is done
    pages: Path = ROOT / "docs"  # folder with speed.md and models.md
    seconds: float = 540.0  # of a stage, at most
    seconds_in_all: float = 1200.0  # of all of them, at most
    commit: str | None = None  # of these sources; None asks git

    @cached_property
    def stages(self) -> dict[str, int]:
        """Stage -> number of frames, 0 for those that aren't about speed."""
        speed = {f"speed-{count}": count for count in self.frames}
        return {"tests": 0, **speed, SERVING: 0}

    @cached_property
    def where(self) -> str:
        """Commit, device and versions, as a sentence: what was done elsewhere doesn't count."""
        name = torch.cuda.get_device_name(self.device) if self.device != "cpu" else "CPU"
        commit = self.commit or running_commit() or "unknown"
        return (
            f"Commit {commit} (sources {_sources()}), {name}, torch {torch.__version__}, "
            f"transformers {transformers.__version__}, Python {platform.python_version()}."
        )

    def folder(self, stage: str) -> Path:
        """Of what a program of its own did here; there is one for each `where`."""
        return self.state / f"{stage}-{hashlib.sha256(self.where.encode()).hexdigest()[:8]}"

    def course(self) -> Course:
        """Runs the stages of speed, and has what they measured."""
        journal = Journal(self.state / "speed.jsonl")
        return Course(self.model, journal, self.tokens, self.where, self.dtype, device=self.device)


def run(plan: Plan, wanted: Sequence[str] = ()) -> list[str]:
    """Run the stages that aren't done, and write the tables of all that are.

    Args:
        wanted: names of stages; none for all.
    """
    failures = []
    begun = time.monotonic()
    for stage in wanted or plan.stages:
        if _done(plan, stage):
            _say(f"{stage}: done before")
            continue
        if missing := _missing(plan, stage):
            _say(f"{stage}: skipped, for {missing}")
            continue
        _say(f"{stage}: begins")
        left = plan.seconds_in_all - (time.monotonic() - begun)
        failure = _in_time(plan, stage, min(plan.seconds, left))
        if failure or not _done(plan, stage):
            failures.append(f"{stage}: {failure or 'failed'}")
    write(plan)
    return failures


def write(plan: Plan) -> None:
    """Put the tables of the stages that are done into their pages; without any, leave those."""
    course, counts = plan.course(), plan.stages.values()
    rounds = {n: course.done("gpu", n, plan.runs, int8=False) for n in counts if n}
    heats = {n: found for n, found in rounds.items() if found is not None}
    if not heats:
        return
    tests = _tests(plan)
    said = "The CUDA tests weren't run." if tests is None else f"CUDA tests: {tests['summary']}."
    for name, stages, file in (
        ("gpu speed", OF_GPU_SPEED, "speed.md"),
        ("gpu memory", OF_GPU_MEMORY, "models.md"),
    ):
        text = f"{page(course.heat('gpu', 0), stages, heats)} {said}"
        put(text, name, plan.pages / file)
        print(text, end="\n\n")


def _done(plan: Plan, stage: str) -> bool:
    if stage == SERVING:
        return (plan.folder(stage) / DONE).exists()
    if frames := plan.stages[stage]:
        return plan.course().done("gpu", frames, plan.runs, int8=False) is not None
    tests = _tests(plan)
    return tests is not None and tests["passed"]


def _in_time(plan: Plan, stage: str, seconds: float) -> str | None:
    """Run a stage in a process of its own; a sentence where it didn't end well."""
    if seconds <= 0:
        return f"no time was left for it; {RESUMES}"
    if stage == "tests" and find_spec("pytest") is None:
        return f"needs pytest, which isn't installed for {sys.executable}"
    if stage == SERVING:
        return _run_apart(plan, stage, seconds)
    work = _run_tests if stage == "tests" else _measure
    spawned = multiprocessing.get_context("spawn")
    process = spawned.Process(target=work, args=(plan, stage), daemon=True)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return f"stopped after {seconds:.0f} s; {RESUMES}"
    return f"failed with exit code {process.exitcode}" if process.exitcode else None


def absent(*packages: str) -> str | None:
    """The first of some packages that isn't installed."""
    return next((package for package in packages if find_spec(package) is None), None)


def _missing(plan: Plan, stage: str) -> str | None:
    """What a program of its own needs and isn't here, and the page that tells of it."""
    if stage == SERVING and (package := absent("vllm", "dycoke_vllm")):
        return f"{sys.executable} has no {package} (docs/serve.md)"
    return None


def _run_apart(plan: Plan, stage: str, seconds: float) -> str | None:
    """Run a program; see `_in_time`. Interrupted, it ends what it started, too."""
    folder = plan.folder(stage)
    command = [sys.executable, "-m", "benchmarks.serving", *plan.serving, str(folder)]
    with subprocess.Popen(command, cwd=ROOT) as program:
        try:
            code = program.wait(seconds)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGINT)
            return f"stopped after {seconds:.0f} s; {RESUMES}"
    if code:
        return f"failed with exit code {code}"
    (folder / DONE).touch()
    return None


def _measure(plan: Plan, stage: str) -> None:
    plan.course().run("gpu", plan.stages[stage], plan.runs, int8=False)


def _run_tests(plan: Plan, stage: str) -> None:
    import pytest

    plan.state.mkdir(parents=True, exist_ok=True)
    report = plan.state / "tests.xml"
    report.unlink(missing_ok=True)
    code = pytest.main(["-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *plan.tests])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(int(code))
    counts = ElementTree.parse(report).getroot()[0].attrib
    failed, skipped = int(counts["failures"]) + int(counts["errors"]), int(counts["skipped"])
    passed = int(counts["tests"]) - failed - skipped
    done = {
        "where": plan.where,
        "passed": passed > 0 and not failed,
        "summary": f"{passed} passed, {failed} failed, {skipped} skipped",
    }
    path = plan.state / TESTS
    path.with_suffix(".new").write_text(json.dumps(done), encoding="utf-8")
    path.with_suffix(".new").replace(path)
    if not done["passed"]:
        raise SystemExit(1)


def _tests(plan: Plan) -> dict[str, Any] | None:
    """What the tests said, here and now; None where they weren't run."""
    path = plan.state / TESTS
    done = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return done if done.get("where") == plan.where else None


def _sources() -> str:
    """What tells these sources from changed ones, also where there is no git."""
    content = hashlib.sha256()
    for folder in ("src", "benchmarks", "tests", "training"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            content.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return content.hexdigest()[:8]


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.gpu", description="CUDA, measured."
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"{', '.join(Plan().stages)}")
    parser.add_argument("--commit", help="Commit of these sources, where there is no git.")
    given = parser.parse_args()
    plan = Plan(commit=given.commit)
    if unknown := [stage for stage in given.stages if stage not in plan.stages]:
        parser.error(f"no stage {unknown[0]!r}; there are {', '.join(plan.stages)}")
    if not torch.cuda.is_available():
        parser.error(f"this needs a CUDA device, and torch {torch.__version__} finds none")
    if failures := run(plan, given.stages):
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
