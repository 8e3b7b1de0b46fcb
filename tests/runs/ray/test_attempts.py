"""How often a video was begun, and what is kept of what came of it."""

from __future__ import annotations

import subprocess
import sys

from dycoke_cli.runs.ray.attempts import Attempts


def test_the_first_worker_takes_them_together_the_next_one_by_one() -> None:
    attempts = Attempts()
    assert attempts.begin([0, 1, 2]) is True
    assert attempts.begin([3]) is True
    assert attempts.begin([0, 1, 2]) is False
    assert [attempts.begin_alone(0), attempts.begin_alone(1)] == [2, 2]


def test_what_is_found_alone_isnt_looked_for_again() -> None:
    attempts = Attempts()
    attempts.begin([0, 1])
    attempts.begin_alone(0)
    attempts.end_alone(0, b"found")
    attempts.begin_alone(1)
    # The worker dies of 1, and the next one is given both.
    assert attempts.begin([0, 1]) is False
    assert attempts.begin_alone(0) == b"found"
    assert attempts.begin_alone(1) == 3
    assert attempts.begin_alone(1) == 4


def test_nothing_is_begun_after_the_end() -> None:
    attempts = Attempts()
    attempts.begin([0, 1])
    assert sorted(attempts.stop()) == [0, 1]
    assert attempts.begin([2]) is None
    assert attempts.begin([0, 1]) is None


def test_what_holds_no_model_doesnt_import_torch() -> None:
    names = ("ray.attempts", "worker", "ray.transfer", "ray.workers")
    modules = ", ".join(f"dycoke_cli.runs.{name}" for name in names)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
