"""A pytest plugin for `make test-quick`: a little of every file of tests.

Of each test it runs the first of its cases, and of each file as many tests as begin within a
quarter of a second of processor time (`--seconds-per-file`). So no list of quick tests is kept by
hand, a new file is covered at once, and a slow one costs one test. What is left out is counted as
deselected (cases) or skipped (tests).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.limits import processor_time

_spent: defaultdict[Path, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds-per-file", type=float, default=0.25)


@pytest.hookimpl(trylast=True)  # behind -m and -k
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
    others = [item for item in items if first[item.nodeid.partition("[")[0]] is not item]
    items[:] = [item for item in items if first[item.nodeid.partition("[")[0]] is item]
    config.hook.pytest_deselected(items=others)


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    if _spent[item.path] > (limit := item.config.getoption("--seconds-per-file")):
        pytest.skip(f"its file had {limit} s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    begin = processor_time()
    try:
        return (yield)
    finally:
        _spent[item.path] += processor_time() - begin
