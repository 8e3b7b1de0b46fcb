"""What a cluster of two nodes loses: workers, a node, videos that end their worker. No results."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.batch.listener import Listener
from dycoke_cli.batch.on_ray import OnRay
from dycoke_cli.batch.outcome import Outcome
from dycoke_cli.errors import DycokeError

from .clusters import add_node, cluster_of
from .pretending import HOW, cannot_load, jobs_named, pretend

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(2) as running:
        yield running


def numbered(count: int) -> list[str]:
    return [f"clip{number}.mp4" for number in range(count)]


def videos_of(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.line["video"] for outcome in outcomes)


def test_killed_workers_cost_no_result(cluster: Any, tmp_path: Path) -> None:
    jobs, found, killed = jobs_named(tmp_path, *numbered(24)), [], set()
    for outcome in OnRay(cluster.address, make=pretend)(jobs, HOW, Listener()):
        found.append(outcome)
        if len(found) in (4, 12, 20):
            killed.add(outcome.line["pid"])
            with suppress(ProcessLookupError):
                os.kill(outcome.line["pid"], signal.SIGKILL)
    assert videos_of(found) == dict.fromkeys(numbered(24), 2)
    assert len({outcome.key for outcome in found}) == 48
    assert len(killed) > 1
    assert {outcome.line["pid"] for outcome in found} - killed


def test_node_that_leaves_costs_no_result(cluster: Any, tmp_path: Path) -> None:
    third = add_node(cluster)
    jobs, found = jobs_named(tmp_path, *numbered(24)), []
    for outcome in OnRay(cluster.address, make=pretend)(jobs, HOW, Listener()):
        found.append(outcome)
        if third is not None and len({o.line["pid"] for o in found}) == 3:
            cluster.remove_node(third)
            third = None
    assert third is None, "not all workers had begun"
    assert videos_of(found) == dict.fromkeys(numbered(24), 2)


def test_deadly_video_has_three_attempts_and_an_error(cluster: Any, tmp_path: Path) -> None:
    names = numbered(14)
    names[5:5], names[9:9] = ["deadly1.mp4"], ["deadly2.mp4"]
    found = list(
        OnRay(cluster.address, make=pretend)(jobs_named(tmp_path, *names), HOW, Listener())
    )
    assert videos_of(found) == dict.fromkeys(names, 2)
    failed = {outcome.line["video"]: outcome.line["error"] for outcome in found if outcome.failed}
    assert set(failed) == {"deadly1.mp4", "deadly2.mp4"}
    assert failed["deadly1.mp4"]["code"] == "video_unreadable"
    assert "deadly1.mp4 ended the worker" in failed["deadly1.mp4"]["message"]
    begun = Counter((tmp_path / "diary").read_text().split())
    assert begun["deadly1.mp4"] == begun["deadly2.mp4"] == 3


def test_model_that_workers_havent_got(cluster: Any, tmp_path: Path) -> None:
    jobs = jobs_named(tmp_path, *numbered(3))
    with pytest.raises(DycokeError, match="this machine hasn't got the model"):
        list(OnRay(cluster.address, make=cannot_load)(jobs, HOW, Listener()))


def test_run_that_is_to_end_finishes_what_was_begun(cluster: Any, tmp_path: Path) -> None:
    listener, found = Listener(), []
    for outcome in OnRay(cluster.address, make=pretend)(
        jobs_named(tmp_path, *numbered(40)), HOW, listener
    ):
        found.append(outcome)
        listener.stopping = True
    assert set((tmp_path / "diary").read_text().split()) == set(videos_of(found))
    assert set(videos_of(found).values()) == {2}
    assert 1 <= len(videos_of(found)) <= 16


def test_cluster_stays(cluster: Any, tmp_path: Path) -> None:
    """Of two runs on it, the second finds it as the first did."""
    for name in ("a.mp4", "b.mp4"):
        jobs = jobs_named(tmp_path, name)
        assert len(list(OnRay(cluster.address, make=pretend)(jobs, HOW, Listener()))) == 2
