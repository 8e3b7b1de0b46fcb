"""The tables of methods, from answers that were made up. Their plot needs matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tables of a model, and three of another; the workers of a run share them."""
    own = tmp_path_factory.getbasetemp()
    out = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "methods"
    with FileLock(f"{out}.lock"):
        if not out.exists():
            _write(out.with_suffix(".part"))
            out.with_suffix(".part").rename(out)
    return out


def _write(out: Path) -> None:
    from benchmarks import methods
    from tests.benchmarks.made_up_answers import arguments, fill

    several = ["budgets", "positions", "whole"]
    for name, tables in (("shipped", methods.TABLES), ("control", several)):
        for table in tables:
            for run in methods.TABLES[table]():
                # A journal each: all of one is read whenever it is opened.
                given = arguments(out / table, name)
                fill(run, given)
                methods.export(run, given).write(out / "data")


@pytest.fixture(scope="session")
def models(measured: Path) -> Mapping[str, Mapping[str, Any]]:
    """The figures of all tables, by model and table."""
    from benchmarks import method_pages

    return method_pages.read_documents(measured / "data")


@pytest.fixture(scope="session")
def pages(models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    from benchmarks import method_pages

    return method_pages.texts_of(models)
