"""`make test`: what takes too long without saying so fails, and slow tests run first."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest_plugins = ["pytester"]

TESTS = """
import subprocess, sys, time, pytest

SPIN = "import time\\nwhile time.process_time() < 0.2: pass"

def spin():
    begin = time.process_time()
    while time.process_time() < begin + 0.2:
        pass

@pytest.fixture(scope="module")
def shared():
    spin()

@pytest.fixture
def own():
    spin()

def test_for_all(shared): pass
def test_alone(own): pass
def test_in_a_process(): subprocess.run([sys.executable, "-c", SPIN], check=True)
def test_waits(): time.sleep(0.5)
def test_wrong(): assert spin()

@pytest.mark.slow
def test_marked(): spin()
"""


def test_two_seconds_of_a_processor(pytester: pytest.Pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(TESTS)
    arguments = ("-p", "tests.limits", "--cpu-limit", "0.15", "-v", "-p", "no:cacheprovider")
    found = pytester.runpytest_subprocess(*arguments)
    found.assert_outcomes(passed=3, failed=3)
    found.stdout.fnmatch_lines(
        [
            "*::test_marked PASSED*",
            "*::test_for_all PASSED*",
            "*::test_alone FAILED*",
            "*::test_in_a_process FAILED*",
            "*::test_waits PASSED*",
            "*::test_wrong FAILED*",
            "0.? s of processor time: make it faster, or mark it slow",
            "*AssertionError*",
        ]
    )


LEFT_RUNNING = """
import subprocess, sys, pytest

SPIN = "import time\\nwhile time.process_time() < 0.6: pass"

@pytest.mark.slow
def test_leaves_a_process():
    global left
    left = subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE)
    left.stdout.read()  # closed by its end, which nobody has waited for

def test_is_next(): left.wait()
"""


def test_what_an_earlier_test_left_running_is_not_counted(
    pytester: pytest.Pytester, monkeypatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(LEFT_RUNNING)
    arguments = ("-p", "tests.limits", "--cpu-limit", "0.3", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=2)


def test_each_extended_test_is_in_one_part(pytester: pytest.Pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers =\n    slow\n    extended")
    pytester.makepyfile(
        "import pytest\n"
        "def test_always(): pass\n"
        "@pytest.mark.extended\n"
        "@pytest.mark.parametrize('n', range(20))\n"
        "def test_in_a_part(n): pass\n"
    )
    seen = []
    for part in ("1/3", "2/3", "3/3"):
        arguments = ("-p", "tests.limits", "--part", part, "-v", "-p", "no:cacheprovider")
        found = pytester.runpytest(*arguments)
        passed = [line.split()[0] for line in found.outlines if "PASSED" in line]
        assert sum("test_always" in name for name in passed) == 1
        assert 1 < len(passed) < 21
        seen += [name for name in passed if "test_always" not in name]
    assert len(seen) == len({*seen}) == 20


CASES = """
import pytest

@pytest.mark.parametrize("n", range(3))
@pytest.mark.parametrize(("name", "on"), [("a", True), ("a", False), ("b", True), ("c", True)])
def test_product(name, on, n): pass

@pytest.fixture(params=range(5))
def each(request): return request.param

@pytest.mark.parametrize("n", range(2))
def test_with_a_fixture(each, n): pass

@pytest.mark.parametrize("n", range(2))
@pytest.mark.parametrize("m", range(4))
def test_eight(m, n): pass

@pytest.mark.parametrize("n", range(12))
def test_listed(n): pass

@pytest.mark.slow
@pytest.mark.parametrize("n", range(12))
def test_marked(n): pass
"""


def test_of_a_function_eight_cases_are_run_that_have_many_values(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers =\n    slow\n    extended")
    pytester.makepyfile(CASES)
    arguments = ("-p", "tests.limits", "-m", "not extended", "-v", "-p", "no:cacheprovider")
    passed = [line for line in pytester.runpytest(*arguments).outlines if "PASSED" in line]
    names = [line.split()[0].partition("::")[2] for line in passed]
    product = [name for name in names if "product" in name]
    assert len(product) == 8
    assert {name.rpartition("-")[2] for name in product} == {"0]", "1]", "2]"}
    assert len({name.rpartition("-")[0] for name in product}) == 4
    fixture = [name for name in names if "fixture" in name]
    assert len(fixture) == 8
    assert len({name.partition("-")[0] for name in fixture}) == 5
    for kind, most in (("eight", 8), ("listed", 8), ("marked", 1)):
        assert sum(kind in name for name in names) == most
    pytester.runpytest("-p", "tests.limits", "-p", "no:cacheprovider").assert_outcomes(passed=54)


ELSEWHERE = """
import psutil, pytest

@pytest.fixture
def system(tmp_path, monkeypatch): monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))

def test_with_other_files(system): pass
"""


def test_the_files_of_the_system_may_be_replaced(pytester: pytest.Pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(ELSEWHERE)
    found = pytester.runpytest_subprocess("-p", "tests.limits", "-p", "no:cacheprovider")
    found.assert_outcomes(passed=1)


def test_what_needs_an_optional_package_is_skipped_without_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((ROOT / "conftest.py").read_text("utf-8"))
    pytester.makepyprojecttoml('[project.optional-dependencies]\nall = ["not-here[all]>=1"]')
    pytester.makepyfile(
        test_a="import not_here.part\ndef test_a(): pass",
        test_b="import nowhere\ndef test_b(): pass",
        test_c="def test_c(): pass",
    )
    arguments = ("--continue-on-collection-errors", "-p", "no:cacheprovider")
    pytester.runpytest(*arguments).assert_outcomes(passed=1, skipped=1, errors=1)
