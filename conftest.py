"""Tests run alike whatever they inherit; those of optional packages are skipped without them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Generator

import pytest

from tests import surroundings

surroundings.reset()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Collect the tests that can be imported."""
    report = yield
    call = getattr(report, "call", None)
    if call is not None and call.excinfo is not None:
        error = call.excinfo.value.__cause__
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        if name is not None and name.partition(".")[0] in optional(collector.config):
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 0, f"the package {name} isn't installed")
    return report


@pytest.hookimpl(tryfirst=True)  # before -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is `extended` is `slow`, too."""
    for item in items:
        if item.get_closest_marker("extended"):
            item.add_marker("slow")


def optional(config: pytest.Config) -> set[str]:
    """The modules of the packages that only extras need."""
    project = tomllib.loads((config.rootpath / "pyproject.toml").read_text("utf-8"))["project"]
    every = [one for extra in project["optional-dependencies"].values() for one in extra]
    return {re.split(r"[\[<>=~ ]", one)[0].replace("-", "_") for one in every}
