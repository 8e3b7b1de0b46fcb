"""Tests have the same signals, limits, umask, time zone and variables under any parent."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

from tests.pages import ROOT

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
    variables = ["DYCOKE_SETTINGS", "HF_HOME", "LANG", "TERM", "TZ"]
    assert json.loads(done.stdout or done.stderr) == [
        dict.fromkeys(IGNORED, True), [], 0o022, 1, "00 UTC", variables, "C.UTF-8"
    ]  # fmt: skip
