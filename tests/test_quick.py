"""`make test-quick`: what it runs of files that are made for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import installs

ROOT = Path(__file__).parents[1]
pytest_plugins = ["pytester"]

SLOW = """
import time, pytest

@pytest.mark.parametrize("case", range(3))
def test_cases(case):
    assert case == 0

@pytest.fixture
def costly():
    raise AssertionError("its test isn't run")

def test_long():
    begin = time.process_time()
    while time.process_time() < begin + 0.6:
        pass

def test_left_out(costly):
    pass
"""
SHORT = """
import pytest

@pytest.mark.slow
def test_marked(): assert False

@pytest.mark.parametrize("case", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_cases(case): assert case == 2

def test_of_a_later_file(): pass
"""


def test_the_first_case_of_each_test_until_the_time_of_a_file_is_spent(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(test_a=SLOW, test_b=SHORT)
    arguments = ("-p", "tests.quick", "-m", "not slow", "-v", "-p", "no:cacheprovider")
    found = pytester.runpytest_subprocess(*arguments)
    found.assert_outcomes(passed=4, skipped=1, deselected=5)
    found.stdout.fnmatch_lines(
        [
            "test_a.py::test_cases?0? PASSED*",
            "test_a.py::test_long PASSED*",
            "test_a.py::test_left_out SKIPPED*",
            "test_b.py::test_cases?2? PASSED*",
            "test_b.py::test_of_a_later_file PASSED*",
        ]
    )


def test_what_isnt_run_on_each_python_is_there() -> None:
    assert all((ROOT / "tests" / name).exists() for name in installs.LEFT_OUT)
