"""One process and Ray make the same tables of a benchmark; each resumes when killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.evaluation.prediction import FILE
from tests.cli.harness import run_here
from tests.documents import valid
from tests.evaluation import miniatures
from tests.evaluation.samples import without_times
from tests.runs.clusters import cluster_of

pytestmark = pytest.mark.slow

# So that every process reckons alike to the last digit. Four frames: a window for DyCoke.
EXACT = ("--dtype", "float32", "--device", "cpu", "--frames", "4", "--max-tokens", "8")
# The six of the paper; with subtitles, one of them is asked in other words.
NAMES = tuple(miniatures.MAKERS)
METHODS = ("--methods", "none,dycoke,no-video", "--limit", "2")
# Open answers, choices about parts of videos, and a prompt with subtitles: the jobs of others, sent
# elsewhere or divided, are as these.
SENT = ("video_dc499", "mvbench", "videomme_w_subtitle")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a miniature of each."""
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        miniatures.make(name, folder / name)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(1) as running:
        yield running


def flags(name: str, data: Path, out: Path) -> tuple[str | Path, ...]:
    model = ("--model", "mini")
    return ("eval", name, "--data", data / name, *EXACT, *model, "--out", out)


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


def _needed(name: str) -> Any:
    """The others are read and asked by their own tests, with prepared answers."""
    return pytest.param(name, marks=() if name in SENT else pytest.mark.extended)


@pytest.fixture(scope="module", params=map(_needed, NAMES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(name: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark answered in this process."""
    return answered(name, data, tmp_path_factory.mktemp("whole"))


def answered(name: str, data: Path, out: Path, *how: str) -> Path:
    outcome = run_here(*flags(name, data, out), *METHODS, "--quiet", *how)
    assert outcome.code == 0, outcome.err
    return out


@pytest.mark.extended
@pytest.mark.slow
def test_to_the_end(name: str, whole: Path) -> None:
    document = tables(whole)
    assert document["benchmark"] == name
    assert document["metric"] == ("rouge_l_f1" if name == "video_dc499" else "accuracy")
    for row in document["rows"]:
        assert row["failed"] == 0
        assert sum(group["questions"] for group in row["by_type"].values()) == row["questions"]
        mean = sum(g["accuracy"] * g["questions"] for g in row["by_type"].values())
        assert row["accuracy"] == pytest.approx(mean / row["questions"])
        assert (row["macro_accuracy"] is None) == (name != "mvbench")
        listed = [one for one in document["unscored"] if one["spec"] == row["spec"]]
        assert len(listed) == row["unparsable"]
    visual = {visual for _, _, visual, _ in predictions(whole).values()}
    assert visual == {0, 64}
    assert document["rows"][-1]["changed"] > 0


@pytest.mark.extended
@pytest.mark.parametrize("name", SENT, indirect=True, scope="module")
def test_on_ray(name: str, whole: Path, data: Path, tmp_path: Path, cluster: Any) -> None:
    answered(name, data, tmp_path, "--engine", "ray", "--address", cluster.address)
    assert predictions(tmp_path) == predictions(whole)
    assert tables(tmp_path) == tables(whole)
