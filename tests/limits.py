"""A pytest plugin for `make test`: no test may be slow without saying so, and slow ones run first.

Of a function whose cases are all marked `slow` the first is for `make test`, where each runs a
model or a method three, and where each runs a family two, spread over their order; the others
become `extended`. Of those there are more than each push can wait for: `--part 2/10` leaves out all
but one in ten of them, by a hash of their names, so that ten pushes that differ run them all.

What is imported and collected stays to the end, so Python's search for garbage leaves it out.

A test that isn't marked `slow` fails if it takes more than two seconds of processor time, its own
and that of the processes that it waited for. Fixtures of a module or a session are for all who use
them, and not counted. On a machine so slow that this fails: make test CPU_LIMIT=4.
"""

from __future__ import annotations

import gc
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest

from dycoke_cli.resources import usable_cpus
from tests.marks import EXTENDED

# Nearly every worker comes to need it: imported before the first test, it is on no test's account.
ENGINE = ("av", "dycoke_cli.models.load", "dycoke_cli.loop.answer_batch", "dycoke_cli.runs.run")

TIERS = ("extended", "slow")

# Where each case runs a model or a method, and where it runs a family.
DEAR = (
    "tests/compression/", "tests/engine/", "tests/kernels/", "tests/server/local/",
    "tests/verification/", "training/tests/",
)  # fmt: skip
DEAREST = "tests/families/"

CPUS = usable_cpus()
"""Asked once: tests put other files where the system's are."""

_shared = 0.0
"""Seconds spent on fixtures that outlive their test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu-limit", type=float, default=2.0, help="seconds for a test not `slow`")
    parser.addoption("--part", default="1/1", help="of the extended tests, as 2/10")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


class _BeforeSelecting:
    @pytest.hookimpl(tryfirst=True)  # before -m
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        functions: defaultdict[str, list[pytest.Item]] = defaultdict(list)
        for item in items:
            if hasattr(item, "callspec") and not item.get_closest_marker("extended"):
                functions[item.nodeid.partition("[")[0]].append(item)
        for name, cases in functions.items():
            is_slow = all(item.get_closest_marker("slow") for item in cases)
            most = 3 if name.startswith(DEAR) else len(cases)
            most = 1 if is_slow else 2 if name.startswith(DEAREST) else most
            # By no multiple of 2 or 3: of a product, each factor has several values.
            step = max(n for n in range(1, max(1, len(cases) // most) + 1) if n % 2 and n % 3)
            for item in {*cases} - {*cases[::step][:most]}:
                for mark in EXTENDED:
                    item.add_marker(mark)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_BeforeSelecting())


@pytest.hookimpl(trylast=True)  # behind -m and -k
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first, so that workers end together; what is beside each other stays so."""
    part, parts = map(int, config.getoption("--part").split("/"))
    others = [
        item
        for item in items
        if item.get_closest_marker("extended")
        and zlib.crc32(item.nodeid.encode()) % parts != part % parts
    ]
    if others:
        config.hook.pytest_deselected(items=others)
        left_out = {*others}
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: [item.get_closest_marker(tier) is None for tier in TIERS])
    for module in ENGINE if len(items) > 1000 else ():
        __import__(module)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    item.stash[_BEGIN] = processor_time() - _shared, time.monotonic()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    global _shared
    begin, shared = processor_time(), _shared
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            _shared = shared + processor_time() - begin


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    began, clock = item.stash[_BEGIN]
    spent = processor_time() - _shared - began
    # What an earlier test left running may end, and be waited for, only now: all that it ever spent
    # comes at once. More than all cores for as long as this test lasts isn't this test's.
    spent = min(spent, (time.monotonic() - clock) * CPUS)
    limit = item.config.getoption("--cpu-limit")
    slow = item.get_closest_marker("slow")
    if call.when == "call" and report.passed and not slow and spent > limit:
        report.outcome = "failed"
        report.longrepr = f"{spent:.1f} s of processor time: make it faster, or mark it slow"
    return report


_BEGIN = pytest.StashKey[tuple[float, float]]()


def processor_time() -> float:
    """Seconds of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
