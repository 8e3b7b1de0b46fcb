"""One process and Ray make the same tables of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.evaluation.prediction import FILE
from tests.cli.harness import run_here
from tests.documents import valid
from tests.evaluation.samples import without_times
from tests.runs.clusters import cluster_of

pytestmark = pytest.mark.slow

# So that every process reckons alike to the last digit. Four frames: a window for DyCoke.
EXACT = ("--dtype", "float32", "--device", "cpu", "--frames", "4", "--max-tokens", "8")
METHODS = ("--methods", "none,dycoke,no-video", "--limit", "2")
# Open answers, choices about parts of videos, and a prompt with subtitles: the jobs of others are
# as these.
SENT = ("video_dc499", "mvbench", "videomme_w_subtitle")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(1) as running:
        yield running


def predictions(folder: Path) -> dict[tuple[str, str], Any]:
    """What was said to each question under each setup, and its score; no question twice."""
    lines = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    answers = [line for line in lines if "item" in line]
    found = {
        (one["setup"], one["item"]): (one["said"], one["right"], one["visual"], one["generated"])
        for one in answers
    }
    assert len(found) == len(answers)
    return found


def tables(*folders: Path) -> dict[str, Any]:
    """All that `eval report` says of runs, however long they took."""
    outcome = run_here("eval", "report", *folders, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    return without_times(valid(outcome.object, "eval", "report"))


def answered(name: str, data: Path, out: Path, *how: str) -> Path:
    flags = ("--data", data / name, *EXACT, "--model", "mini", "--out", out, *METHODS, "--quiet")
    outcome = run_here("eval", name, *flags, *how)
    assert outcome.code == 0, outcome.err
    return out


@pytest.mark.extended
@pytest.mark.parametrize("name", SENT)
def test_on_ray(name: str, data: Path, tmp_path: Path, cluster: Any) -> None:
    here = answered(name, data, tmp_path / "here")
    there = answered(name, data, tmp_path / "ray", "--engine", "ray", "--address", cluster.address)
    assert predictions(there) == predictions(here)
    assert tables(there) == tables(here)
