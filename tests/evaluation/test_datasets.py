"""Benchmarks are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets import DATASETS, check_split, class_of, open_dataset
from tests.evaluation.samples import WHERE, Samples


def test_a_benchmark_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "samples", WHERE)
    assert open_dataset("samples") == Samples()


@pytest.mark.parametrize("name", ["shape", "Shapes", "nothing"])
def test_a_wrong_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no benchmark '{name}'") as error:
        open_dataset(name)
    hint = "`dycoke eval --list` lists them" if name == "nothing" else "did you mean shapes?"
    assert str(error.value).endswith(f"; {hint}")


def test_tasks_are_found_by_their_names(tmp_path: Path) -> None:
    assert open_dataset("mvbench_action_count", tmp_path).name == "mvbench_action_count"
    assert open_dataset("videomme_w_subtitle", tmp_path).name == "videomme_w_subtitle"
    with pytest.raises(UsageError, match=r"did you mean mvbench_action_count\?"):
        open_dataset("mvbench_action_counts", tmp_path)
    with pytest.raises(UsageError, match="there is no benchmark 'videomme_action_count'"):
        open_dataset("videomme_action_count", tmp_path)


def test_what_is_bundled_takes_no_folder_and_all_else_needs_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shapes is bundled: it takes no --data"):
        open_dataset("shapes", tmp_path)
    for name in DATASETS:
        if not name.startswith("shapes"):
            said = f"{name} needs the folder of its files: --data"
            with pytest.raises(UsageError, match=said) as refused:
                open_dataset(name)
            assert f"({class_of(name).about.source})" in str(refused.value)


def test_splits(tmp_path: Path) -> None:
    perception = open_dataset("perceptiontest_val_mc", tmp_path)
    check_split(perception, "validation")
    with pytest.raises(UsageError, match="has no test split with answers: it has validation"):
        check_split(perception, "test")


@pytest.mark.parametrize("name", DATASETS)
def test_each_says_what_it_is(name: str) -> None:
    about = class_of(name).about
    assert about.title
    assert about.questions >= about.videos > 0
    assert bool(about.needs) == (not name.startswith("shapes"))
    assert about.source.startswith("https://") == (not name.startswith("shapes"))
