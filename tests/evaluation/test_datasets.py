"""Benchmarks are found by name."""

from __future__ import annotations

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets import DATASETS, open_dataset

from .samples import WHERE, Samples


def test_a_benchmark_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "samples", WHERE)
    assert open_dataset("samples") == Samples()


@pytest.mark.parametrize("name", ["shape", "Shapes", "nothing"])
def test_a_wrong_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no benchmark '{name}'") as error:
        open_dataset(name)
    assert ("did you mean shapes?" in str(error.value)) == (name != "nothing")
