"""What a cluster loses: workers, a node, a video that ends its worker. No results.

Run after run on one cluster: each leaves it to the next as it was.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.ray import OnRay, RayAsker
from dycoke_cli.runs.run import outcomes_of
from tests.runs.clusters import add_node, cluster_of
from tests.runs.pretending import PLAN, Pretending, groups_named

pytestmark = [pytest.mark.slow, pytest.mark.extended]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(2) as running:
        yield running


def numbered(count: int) -> list[str]:
    return [f"clip{number}.mp4" for number in range(count)]


def videos_of(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.line["video"] for outcome in outcomes)


def test_what_a_cluster_loses_costs_no_result(cluster: Any, tmp_path: Path) -> None:
    """Workers are killed, a node leaves, and a video ends whoever has it, all in one run."""
    third = add_node(cluster)
    # Begun after the last kill, or it would share the blame for one of its own attempts.
    names = [*numbered(40), "deadly.mp4"]
    found, killed = [], set()
    on_ray = partial(RayAsker, OnRay(cluster.address, make=Pretending))
    for outcome in outcomes_of(groups_named(tmp_path, *names), PLAN, on_ray, Listener()):
        found.append(outcome)
        if len(found) in (4, 20) and not outcome.failed:
            pid = int(outcome.line["answer"].split()[0])
            killed.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if len(found) == 12:
            cluster.remove_node(third)
    assert len(killed) == 2
    assert videos_of(found) == dict.fromkeys(names, 2)
    assert len({outcome.key for outcome in found}) == 82
    (first, second) = [outcome.line for outcome in found if outcome.failed]
    assert first["video"] == second["video"] == "deadly.mp4"
    assert first["error"]["code"] == "video_unreadable"
    assert "deadly.mp4 ended the worker" in first["error"]["message"]
    assert (tmp_path / "diary").read_text().split().count("deadly.mp4") == 3
