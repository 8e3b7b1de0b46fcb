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
def functions(file: str) -> set[str]:
    """The names of those of a file."""
    module = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


def test_each_test_that_is_named_is_there() -> None:
    for name in TESTS:
        file, function = name.split("::")
        assert function in functions(file), name
