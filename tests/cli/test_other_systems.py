"""A system without some of POSIX's names, as Windows is: what they are used for works without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from dycoke_cli.processes.worker import Worker
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.storage.cache_folder import CacheFiles, is_of_another_user
from tests.cli.harness import PATIENCE_S, ROOT
from tests.processes.test_worker import serve

VIDEO = ROOT / "sample_videos" / "move.mp4"
MISSING = {
    "signal": ("SIGHUP", "SIGPIPE", "SIGKILL", "pthread_sigmask"),
    "os": ("geteuid", "O_NONBLOCK"),
}
# PyAV asks what system it is on while it is imported.
PROGRAM = """
import json, os, signal, subprocess, sys
import av, dycoke_cli.cli.main
for module, names in json.loads(sys.argv.pop(1)).items():
    for name in names:
        delattr(sys.modules[module], name)
subprocess.Popen.kill = lambda self: os.kill(self.pid, 9)  # it has no need of the name there
sys.exit(dycoke_cli.cli.main.main())
"""


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", PROGRAM, json.dumps(MISSING), *map(str, arguments)]


def test_a_video_is_opened() -> None:
    done = subprocess.run(
        command("probe", VIDEO, "--json"),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["info"]["duration_s"] == 4


def test_a_pipe_that_closes() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            command("probe", VIDEO), stdout=write, stderr=subprocess.PIPE, timeout=PATIENCE_S
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_folders_whose_owner_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert is_of_another_user(tmp_path.stat())
    monkeypatch.delattr(os, "geteuid")
    assert not is_of_another_user(tmp_path.stat())
    CacheFiles(tmp_path / "kept", ".part", 1).make_private()


def test_a_worker_without_masks_of_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    resource_tracker.ensure_running()  # multiprocessing's own, which there is none of on Windows
    for name in ("pthread_sigmask", "SIGHUP"):
        monkeypatch.delattr(signal, name)
    worker = Worker(serve, "hello")
    try:
        for _ in range(2):
            worker.send("you")
            assert worker.receive() == "hello you"
            os.kill(worker.pid, signal.SIGINT)
    finally:
        worker.stop()
    monkeypatch.delattr(signal, "SIGKILL")
    assert GoneError(-9).killed
    assert not GoneError(-15).killed
