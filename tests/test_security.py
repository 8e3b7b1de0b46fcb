"""SECURITY.md: whatever it promises has a test, and each test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
PROMISES = re.findall(r"^\| (?!promised)([^|-][^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE)
TESTS = sorted(set(re.findall(r"`(tests/[^`]+)`", "".join(tests for _, tests in PROMISES))))


def test_every_promise_names_a_test() -> None:
    assert len(PROMISES) == PAGE.count("\n| ") - PAGE.count("\n| promised |")
    assert all(re.fullmatch(r"(`tests/[\w/]+\.py::\w+`(, |$))+", tests) for _, tests in PROMISES)


@cache
def functions(file: str) -> dict[str, bool]:
    """The functions of a file, and whether `make test` runs them."""
    body = ast.parse((ROOT / file).read_text("utf-8")).body
    marks = [ast.unparse(node) for node in body if isinstance(node, ast.Assign)]
    of_all = any(one.startswith("pytestmark") and "extended" in one for one in marks)
    return {
        node.name: not of_all and not any("mark.extended" in ast.unparse(d) for d in decorators)
        for node in body
        if isinstance(node, ast.FunctionDef)
        for decorators in [[d for d in node.decorator_list if not isinstance(d, ast.Call)]]
    }


def test_each_test_that_is_named_is_there() -> None:
    for name in TESTS:
        file, function = name.split("::")
        assert function in functions(file), name


def test_each_promise_has_a_test_that_is_run_for_each_commit() -> None:
    for promise, tests in PROMISES:
        named = [name.split("::") for name in re.findall(r"`(tests/[^`]+)`", tests)]
        assert any(functions(file)[function] for file, function in named), promise
