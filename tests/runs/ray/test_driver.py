"""A worker on Ray, and who hands questions to workers, without Ray: calls are made right here."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from dycoke_cli.ask import Ask, Failed
from dycoke_cli.errors import DycokeError, OutOfMemoryError, VideoError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.runs import ray as driver
from dycoke_cli.runs.ray import Driver, OnRay, RayWorker
from dycoke_cli.version import __version__
from tests.runs.pretended import Last
from tests.runs.pretending import PLAN, Pretending, cannot_load, groups_named


class Actor:
    """Answers `actor.method.remote(…)` at once; an error is raised by `ray.get`."""

    def __init__(self, it: Any) -> None:
        self.it = it

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.it, name))


def test_what_holds_no_model_doesnt_import_torch() -> None:
    code = "import sys, dycoke_cli.runs.ray; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def worker_of(make: Any, folder: Path, version: str = __version__, cpus: float = 1) -> RayWorker:
    return RayWorker(OnRay(make=make, cpus=cpus), PLAN, str(folder), version)


def answers(worker: RayWorker, groups: Sequence[Sequence[Ask]]) -> list[Last]:
    """The last events, in the order of the questions."""
    assert worker.load() == ()
    found = worker.answer([*enumerate(ask for group in groups for ask in group)])
    assert isinstance(found, list), found
    return [event for _, event in sorted(found, key=lambda one: one[0])]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.runs.pretending.SECONDS", 0)
    monkeypatch.chdir(tmp_path)  # where it is again after a worker went elsewhere


def said(event: Last) -> str:
    return str(event.error) if isinstance(event, Failed) else event.answer.answer


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, 1), (1, 1), (3, 3)])
def test_answers_all_with_its_threads(cpus: float, threads: int, tmp_path: Path) -> None:
    found = answers(worker_of(Pretending, tmp_path, cpus=cpus), groups_named(tmp_path, "a", "b"))
    assert [said(event).split()[1] for event in found] == [str(threads)] * 4


def test_what_keeps_a_worker_from_loading_is_an_error(tmp_path: Path) -> None:
    other = worker_of(Pretending, tmp_path, version="0.1").load()
    assert "install one version on all machines" in str(other)
    assert str(worker_of(cannot_load, tmp_path).load()) == "this machine hasn't got the model"


def test_paths_are_those_of_the_folder_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    answers(worker_of(Pretending, tmp_path / "here"), groups_named(Path("."), "a"))
    assert (tmp_path / "here" / "diary").read_text() == "a\n"
    worker_of(Pretending, tmp_path / "none")  # its videos say that they aren't there


class Cluster:
    """Of two workers: what each call gives, or dies of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deadly: str = "", *, loads: bool = True):
        self.given: list[list[str]] = []  # names of the videos of each call
        self.plans: list[Any] = []  # that workers were started with
        self.needs = {"CPU": 1, "GPU": 0, "memory": 0}
        self.loads, self._deadly, self._loads = 0, deadly, loads
        kind = SimpleNamespace(remote=self._start)
        monkeypatch.setattr("ray.remote", lambda it: SimpleNamespace(options=lambda **_: kind))
        monkeypatch.setattr("ray.wait", lambda calls, timeout: (calls, []))
        monkeypatch.setattr("ray.get", lambda call: call())
        monkeypatch.setattr("ray.kill", lambda actor: None)
        monkeypatch.setattr(driver, "room", lambda *_: (self.needs, 2))
        here = SimpleNamespace(get_node_id=lambda: "here")
        monkeypatch.setattr("ray.get_runtime_context", lambda: here)

    def _start(self, options: OnRay, plan: Any, folder: str, version: str) -> Actor:
        self.plans.append(plan)
        return Actor(self)

    def load(self) -> Any:
        self.loads += 1
        return (lambda: ()) if self._loads else (lambda: self._die())

    def answer(self, asks: Any) -> Any:
        names = [*dict.fromkeys(ask.videos[0].name for _, ask in asks)]
        self.given.append(names)
        found = [(number, Failed(VideoError("so"))) for number, _ in asks]
        return lambda: self._die() if self._deadly in names else found

    def _die(self) -> None:
        raise ActorDiedError


class Pipe:
    """The run's end: gives messages, and keeps what is sent."""

    def __init__(self, *messages: Any) -> None:
        self.messages, self.sent = [*messages], list[Any]()
        self.send = self.sent.append

    def poll(self, timeout_s: float) -> bool:
        return bool(self.messages)

    def recv(self) -> Any:
        return self.messages.pop(0)


def numbered(folder: Path, count: int) -> tuple[list[tuple[int, Ask]], list[str]]:
    names = [f"clip{number}.mp4" for number in range(count)]
    asks = [ask for group in groups_named(folder, *names) for ask in group]
    return [*enumerate(asks)], names


def test_a_video_that_ends_its_workers_fails_alone_at_the_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, names = numbered(tmp_path, 40)
    cluster, pipe = Cluster(monkeypatch, "clip3.mp4"), Pipe(asks, None)
    Driver(pipe, OnRay(), PLAN).run()
    answers = [one for one in pipe.sent if isinstance(one, tuple)]
    assert sorted(number for number, _ in answers) == [*range(80)]
    failed = {number for number, event in answers if "ended the worker" in said(event)}
    assert failed == {6, 7}
    assert "clip3.mp4 ended the worker that had it 3 times" in said(dict(answers)[6])
    together = [one for one in cluster.given if len(one) > 1]
    assert together
    beside = next(one for one in together if "clip3.mp4" in one)
    # What was together with it is asked alone, once, and all others once.
    times = Counter(chain.from_iterable(cluster.given))
    assert times["clip3.mp4"] == 3
    assert all(cluster.given.count([name]) == 1 for name in beside if name != "clip3.mp4")
    assert {times[name] for name in {*names} - {*beside}} == {1}


def test_a_run_that_is_to_end_begins_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, _ = numbered(tmp_path, 4)
    cluster, pipe = Cluster(monkeypatch), Pipe(asks, driver.STOP)
    Driver(pipe, OnRay(), PLAN).run()
    assert (cluster.given, pipe.sent) == ([], [])


def test_workers_that_die_while_they_load_end_the_run_and_blame_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, _ = numbered(tmp_path, 4)
    cluster, pipe = Cluster(monkeypatch, loads=False), Pipe(asks, None)
    with pytest.raises(OutOfMemoryError, match="a worker ended 3 times while it loaded"):
        Driver(pipe, OnRay(), PLAN).run()
    assert cluster.loads <= 2 * MAX_ATTEMPTS, "each of two workers so often"
    assert not pipe.sent


def test_a_machine_without_ray_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers end, others don't begin, and no call says so."""
    Cluster(monkeypatch)
    monkeypatch.setattr("ray.wait", lambda calls, timeout: ([], calls))
    monkeypatch.setattr(driver, "_LOOK_S", 0)
    nodes = [{"NodeID": "here", "Alive": False}, {"NodeID": "there", "Alive": True}]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    with pytest.raises(DycokeError, match=r"its process on this machine ended.*; run it again$"):
        Driver(Pipe(numbered(tmp_path, 1)[0], None), OnRay(), PLAN).run()


def test_a_worker_without_a_gpu_uses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    for device, gpus, used in (("auto", 0, "cpu"), ("auto", 1, "auto"), ("cuda", 0, "cuda")):
        cluster.needs["GPU"] = gpus
        request = replace(PLAN.request, loading=LoadOptions(device=device))
        Driver(Pipe(numbered(tmp_path, 1)[0], None), OnRay(), replace(PLAN, request=request)).run()
        assert cluster.plans[-1].request.loading.device == used
