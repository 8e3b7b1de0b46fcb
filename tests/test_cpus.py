"""CPUs of a process, and what it inherits."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dycoke_cli import resources
from dycoke_cli.resources import usable_cpus
from tests.pages import ROOT


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Groups as the kernel has them, and eight CPUs."""
    (tmp_path / "cgroup").write_text("0::/user/job\n")
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "_MOUNTED", tmp_path)
    (tmp_path / "user" / "job").mkdir(parents=True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(8)}, raising=False)
    return tmp_path


def test_no_limit(system: Path) -> None:
    assert usable_cpus() == 8
    (system / "user" / "job" / "cpu.max").write_text("max 100000\n")
    assert usable_cpus() == 8


@pytest.mark.parametrize(("quota", "cpus"), [(250_000, 3), (100_000, 1), (20_000, 1), (900_000, 8)])
def test_the_quota_of_a_group_above(system: Path, quota: int, cpus: int) -> None:
    (system / "user" / "cpu.max").write_text(f"{quota} 100000\n")
    assert usable_cpus() == cpus


def test_where_nothing_is_listed(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


def test_this_process() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)


IGNORED = ("SIGINT", "SIGHUP", "SIGTERM", "SIGCHLD", "SIGUSR1")
FOUND = f"""
import conftest, json, os, resource, signal, time
handlers = {{name: str(signal.getsignal(getattr(signal, name))) for name in {IGNORED}}}
print(json.dumps([
    {{name: name == "SIGINT" and "default_int_handler" in text or text == str(signal.SIG_DFL)
      for name, text in handlers.items()}},
    [*signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    os.umask(0),
    len(set(resource.getrlimit(resource.RLIMIT_NOFILE))),
    time.strftime("%H %Z", time.localtime(0)),
    sorted({{*os.environ}} - {{"HOME", "PATH", "PYTHONPATH"}}),
    os.environ["LANG"],
]))
"""
HOSTILE = {
    "LANG": "C", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kolkata", "TERM": "dumb", "COLUMNS": "20",
    "NO_COLOR": "1", "FORCE_COLOR": "1", "DYCOKE_PLUGINS": "mine.py", "HF_ENDPOINT": "http://x",
    "HF_HOME": "/x", "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9",
    "XDG_CACHE_HOME": "/x",
}  # fmt: skip


def inherit() -> None:
    """In a child, before its program begins: what `nohup`, a runner of CI or a shell may leave."""
    for name in IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, most))


def test_a_parent_changes_nothing() -> None:
    kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", FOUND],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT / "src"), **HOSTILE},
        preexec_fn=inherit,
        capture_output=True,
        text=True,
    )
    variables = ["HF_HOME", "LANG", "TERM", "TZ"]
    assert json.loads(done.stdout or done.stderr) == [
        dict.fromkeys(IGNORED, True), [], 0o022, 1, "00 UTC", variables, "C.UTF-8"
    ]  # fmt: skip
