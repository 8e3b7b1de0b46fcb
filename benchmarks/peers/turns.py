"""Who answers, one after the other, each time in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.page import ROOT
from benchmarks.peers.environments import (
    BFLOAT16,
    CHECKPOINT,
    FLOAT32,
    INT4,
    INT8,
    LLAMA_CPP,
    OPENVINO_GENAI,
    SET_UP,
    Peer,
)
from benchmarks.peers.kept import Journal
from benchmarks.peers.runners.line import START, Answer, Task


@dataclass(frozen=True)
class Row:
    """A program with its settings."""

    name: str  # in the table
    peer: Peer | None = None  # None for what runs in this environment
    weights: str = FLOAT32
    # what the runner makes of them is said there
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)


_DYCOKE = {"method": "dycoke"}
_BEFORE_VISION = {"method": "dycoke", "merge_stage": "vision"}
# In float32 all compute the same. With fewer bits each program has what its users would run: KV
# caches and activations in its own defaults.
ROWS = (
    Row("transformers (SDPA)"),
    Row("transformers (SDPA), bfloat16", weights=BFLOAT16),
    Row("dycoke, nothing dropped", settings={"method": "none"}),
    Row("dycoke, DyCoke before vision", settings=_BEFORE_VISION),
    Row("dycoke, nothing dropped, int8", weights=INT8, settings={"method": "none"}),
    Row("dycoke, DyCoke, int8", weights=INT8, settings=_DYCOKE),
    Row("dycoke, DyCoke before vision, int8", weights=INT8, settings=_BEFORE_VISION),
    Row("OpenVINO GenAI", OPENVINO_GENAI),
    Row("OpenVINO GenAI, int8", OPENVINO_GENAI, INT8),
    Row("OpenVINO GenAI, CDPruner at 50%, int8", OPENVINO_GENAI, INT8, {"pruned": 50}),
    Row("OpenVINO GenAI, int4", OPENVINO_GENAI, INT4),
    Row("llama.cpp", LLAMA_CPP),
    Row("llama.cpp, Q8_0", LLAMA_CPP, INT8),
    Row("llama.cpp, Q4_K_M", LLAMA_CPP, INT4),
)


class FailedError(Exception):
    """A runner gave no answer; the message is a clause that says why."""


def in_turns(
    rows: Sequence[Row],
    runs: int,
    ask: Callable[[Row], Answer],
    journal: Journal,
    say: Callable[[str], None],
) -> tuple[dict[Row, list[Answer]], dict[Row, str]]:
    """The answers of each row that gave all of them, and why the others didn't.

    Each round begins with another row, so that none has always the same one before it.
    """
    answers: dict[Row, list[Answer]] = {row: journal.of(row.name)[:runs] for row in rows}
    failed: dict[Row, str] = {}
    for number in range(runs):
        begin = number % len(rows)
        for row in (*rows[begin:], *rows[:begin]):
            if row in failed or len(answers[row]) > number:
                continue
            try:
                answer = ask(row)
            except FailedError as error:
                failed[row] = str(error)
                say(f"round {number + 1}, {row.name}: {error}")
                continue
            journal.add(row.name, answer)
            answers[row].append(answer)
            say(f"round {number + 1}, {row.name}: {answer.total:.1f} s")
    return {row: found for row, found in answers.items() if row not in failed}, failed


def ask(row: Row, environments: Path, task: Task) -> Answer:
    """One answer by the runner of a row."""
    peer = row.peer
    if peer is not None and not peer.is_ready(environments):
        raise FailedError(f"isn't set up here (`{SET_UP}`)")
    if peer is None:
        python, runner, model = sys.executable, "ours", environments / CHECKPOINT
    else:
        python, runner = str(peer.python(environments)), peer.runner
        model = peer.model(environments, row.weights)
    given = asdict(
        replace(task, model=str(model), weights=row.weights, settings=dict(row.settings))
    )
    try:
        done = subprocess.run(
            [python, "-m", f"benchmarks.peers.runners.{runner}", json.dumps(given)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(task.threads)},
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise FailedError(f"can't be started: {error}") from None
    return parsed(done.stdout, done.stderr, done.returncode)


def parsed(stdout: str, stderr: str, status: int) -> Answer:
    """The answer that a runner printed among whatever its libraries print."""
    lines = [line for line in stdout.splitlines() if line.startswith(START)]
    if status == 0 and lines:
        return Answer(**json.loads(lines[-1])["answer"])
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message")
    raise FailedError(f"failed with status {status}: {last.strip()}")
