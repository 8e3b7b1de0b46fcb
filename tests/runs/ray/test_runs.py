"""`dycoke batch --engine ray` as a user runs it, on a cluster of two nodes on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import REAL, ROOT, run_here
from tests.runs.clusters import PATIENCE_S, cluster_of, environment, run_on
from tests.waiting import until

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")
pytestmark = [pytest.mark.slow, pytest.mark.extended]

CLIPS = ("appear.mp4", "move.mp4", "turn.mp4", "vanish.mp4")
# So that both engines reckon alike to the last digit.
EXACT = ("--dtype", "float32", "--frames", "4", "--max-tokens", "12", "--batch-size", "1")


@pytest.fixture
def cluster() -> Iterator[Any]:
    with cluster_of(2) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips, a broken one, and a list of two of them."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in CLIPS:
        shutil.copy(ROOT / "sample_videos" / name, folder)
    (folder / "broken.mp4").write_text("not a video")
    (folder / "two.txt").write_text("move.mp4\nturn.mp4\n")
    return folder


def lines(out: Path) -> dict[str, dict[str, Any]]:
    """Objects by their keys; no key twice."""
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({known["key"] for known in found}) == len(found)
    return {known["key"]: known for known in found}


def texts(out: Path) -> dict[str, str]:
    return {
        key: known.get("answer", known.get("error", {}).get("message"))
        for key, known in lines(out).items()
    }


def batch(videos: Path, out: Path, cluster: Any = None) -> tuple[int, str]:
    """Run it, on a cluster if there is one; stdout must stay empty."""
    command = ("batch", videos, "What happens?", "--out", out, *EXACT)
    run = run_here(*command) if cluster is None else run_on(cluster, *command)
    assert run.out == ""
    return run.code, run.err


def test_each_engine_goes_on_where_the_other_stopped(
    folder: Path, tmp_path: Path, cluster: Any
) -> None:
    whole, local_first, ray_first = (tmp_path / f"{name}.jsonl" for name in ("w", "l", "r"))
    assert batch(folder, whole)[0] == 1
    assert batch(folder / "two.txt", local_first)[0] == 0
    before = local_first.read_text()
    code, said = batch(folder, local_first, cluster)
    assert code == 1
    assert "ray" not in said.lower(), "what Ray has to say isn't for our stderr"
    assert local_first.read_text().startswith(before)
    assert batch(folder / "two.txt", ray_first, cluster)[0] == 0
    before = ray_first.read_text()
    assert batch(folder, ray_first)[0] == 1
    assert ray_first.read_text().startswith(before)
    assert texts(local_first) == texts(ray_first) == texts(whole)
    assert sum("error" in known for known in lines(whole).values()) == 1


def started(videos: Path, out: Path, cluster: Any) -> subprocess.Popen[bytes]:
    """A run on Ray that has written something."""
    process = subprocess.Popen(
        [
            *REAL,
            "batch",
            str(videos),
            "What happens?",
            "--out",
            str(out),
            *EXACT,
            "--engine",
            "ray",
        ],
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(cluster),
        # Ctrl-C is heard, which isn't in what runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        until(
            lambda: process.poll() is not None or (out.exists() and out.stat().st_size), PATIENCE_S
        )
    except BaseException:
        process.kill()
        raise
    assert process.poll() is None, process.communicate()[1].decode()
    return process


@pytest.mark.parametrize("killed", ["ray::RayWorker", "raylet/raylet", "batch"])
def test_what_is_killed_on_ray_is_answered_again(
    killed: str, folder: Path, tmp_path: Path, cluster: Any
) -> None:
    """Workers are started again; without what else is Ray's the run ends in a sentence."""
    for number in range(36):
        shutil.copy(folder / "move.mp4", folder / f"copy{number}.mp4")
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert batch(folder, whole)[0] == 1
    process = started(folder, out, cluster)
    try:
        own = psutil.Process(process.pid).children(recursive=True)
        family = psutil.Process().children(recursive=True)  # all of Ray's, too
        if killed == "raylet/raylet":
            cluster.head_node.kill_raylet()
        else:
            chosen = [one for one in family if killed in name_of(one)]
            assert chosen
            for one in chosen:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert b"Traceback" not in said
    until(lambda: not alive(own), PATIENCE_S)
    workers = [one for one in family if "ray::RayWorker" in name_of(one)]
    until(lambda: not alive(workers), PATIENCE_S)
    # Workers outlive the raylet for a moment, in which they may answer the rest.
    is_over = killed == "raylet/raylet" and b"broke down" not in said
    if killed == "ray::RayWorker" or is_over:
        assert process.returncode == 1, said.decode()
    else:
        if killed != "batch":
            assert re.search(rb"\d+ of 41 questions done \(in .*; the same command resumes", said)
            assert b"Error: the Ray cluster broke down" in said
        before = out.read_bytes()
        assert batch(folder, out)[0] == 1
        assert out.read_bytes().startswith(before)
    assert texts(out) == texts(whole)


def name_of(process: Any) -> str:
    """The beginning of its command line, in which the names of other processes may follow."""
    try:
        return " ".join(process.cmdline()[:4])
    except psutil.NoSuchProcess:
        return ""


def test_interrupt(folder: Path, tmp_path: Path, cluster: Any) -> None:
    for number in range(40):
        shutil.copy(folder / "move.mp4", folder / f"copy{number}.mp4")
    out = tmp_path / "out.jsonl"
    process = started(folder, out, cluster)
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        # As a terminal does it: to all that were started.
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, said.decode()
    assert 0 < len(lines(out)) < 44
    until(lambda: not alive(family), PATIENCE_S)


def alive(family: Sequence[Any]) -> bool:
    return any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
