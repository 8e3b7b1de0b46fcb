"""The process that workers are forked from: what it may hold when they are, and how it ends."""

from __future__ import annotations

import ast
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.processes.worker import Worker
from dycoke_cli.runs import pool
from tests.processes.test_worker import with_path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone"),
    pytest.mark.slow,
]
PATIENCE_S = 240.0
NUMBERS = 4_000_000


def tell_what_was_forked(connection: Connection) -> None:
    """Send what there is of the parent, and what two threads compute afterwards."""
    imported = {"torch", "transformers", "dycoke_cli.engine.session"} <= sys.modules.keys()
    import torch

    threads = len(os.listdir(f"/proc/{os.getppid()}/task"))
    # Of a build for CUDA: set in whoever is forked after anything has asked the driver.
    in_bad_fork = getattr(torch._C, "_cuda_isInBadFork", lambda: False)()
    accelerated = torch.cuda.is_initialized() or in_bad_fork
    torch.set_num_threads(2)
    sines = torch.sin(torch.arange(NUMBERS, dtype=torch.float64)).sum().item()
    connection.send((imported, threads, accelerated, torch.get_num_threads(), sines))


def print_what_was_forked() -> None:
    print(Worker(tell_what_was_forked, preload=pool._preloaded()).receive())


def start_importing(first: str) -> None:
    """With modules of a folder in place of others of their name."""
    sys.path.insert(0, first)
    pool.start_importing()
    time.sleep(PATIENCE_S)


def answer_in_workers(first: str) -> None:
    sys.path.insert(0, first)
    pool._threads = lambda workers: 1  # which torch is asked for
    plan: Any = SimpleNamespace(workers=2)
    pool.WorkerPool(plan, print).begin_run()


def started(function: Callable[..., None], *arguments: str, **more: str) -> subprocess.Popen[str]:
    """A process of a function of this module."""
    code = f"import sys; from {__name__} import {function.__name__} as f; f(*sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=with_path(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_engine_is_there_and_neither_threads_nor_an_accelerator_were_touched() -> None:
    """Threads aren't forked: the first large sum would wait for those of OpenMP for ever.

    Those of NumPy, which it ends and starts again around a fork, are kept out of the count.
    """
    process = started(print_what_was_forked, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="4")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    imported, threads, accelerated, computing, sines = ast.literal_eval(out)
    assert (imported, threads, accelerated, computing) == (True, 1, False, 2)
    # The closed form of a sum of sines of evenly spaced numbers.
    expected = math.sin((NUMBERS - 1) / 2) * math.sin(NUMBERS / 2) / math.sin(0.5)
    assert sines == pytest.approx(expected, abs=1e-6)


def test_it_ends_with_its_parent_while_it_imports(tmp_path: Path) -> None:
    """Else who reads the parent's stderr waits for its end until the imports are done."""
    slow = "import time; print('begun'); time.sleep(1000)"
    (tmp_path / "transformers.py").write_text(slow)
    process = started(start_importing, str(tmp_path))
    assert process.stderr is not None
    assert process.stderr.readline() == "begun\n"
    process.kill()
    process.communicate(timeout=30)


@pytest.mark.parametrize(
    "failure",
    [
        "raise ImportError",
        pytest.param("raise RuntimeError", marks=pytest.mark.extended),
        pytest.param("os._exit(1)", marks=pytest.mark.extended),
    ],
)
def test_an_engine_that_cant_be_imported(tmp_path: Path, failure: str) -> None:
    """Nobody waits for ever."""
    (tmp_path / "torch.py").write_text(f"import os; {failure}")
    process = started(answer_in_workers, str(tmp_path))
    _, err = process.communicate(timeout=PATIENCE_S)
    assert "DycokeError: a worker ended with exit code 1; run it again" in err.splitlines()[-1]
