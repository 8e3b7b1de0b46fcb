"""How often a video was begun, and what is kept of what came of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dycoke_cli.batch.books import Books


def test_the_first_worker_takes_them_together_the_next_one_by_one() -> None:
    books = Books()
    assert books.begin([0, 1, 2]) is True
    assert books.begin([3]) is True
    assert books.begin([0, 1, 2]) is False
    assert [books.begin_alone(0), books.begin_alone(1)] == [2, 2]


def test_what_is_found_alone_isnt_looked_for_again() -> None:
    books = Books()
    books.begin([0, 1])
    books.begin_alone(0)
    books.end_alone(0, b"found")
    books.begin_alone(1)
    # The worker dies of 1, and the next one is given both.
    assert books.begin([0, 1]) is False
    assert books.begin_alone(0) == b"found"
    assert books.begin_alone(1) == 3
    assert books.begin_alone(1) == 4


def test_nothing_is_begun_after_the_end() -> None:
    books = Books()
    books.begin([0, 1])
    assert sorted(books.stop()) == [0, 1]
    assert books.begin([2]) is None
    assert books.begin([0, 1]) is None


@pytest.mark.parametrize("module", ["books", "shipping", "ray_worker", "on_ray"])
def test_what_holds_no_model_doesnt_import_torch(module: str) -> None:
    code = f"import sys, dycoke_cli.batch.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
