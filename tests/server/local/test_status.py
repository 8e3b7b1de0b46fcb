"""`dycoke serve status`: what it shows of a running server, and of none."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.harness import run_here
from tests.documents import is_valid
from tests.server.local.conftest import Served


def test_a_running_server(local: Served) -> None:
    object.__setattr__(local.service, "url", "http://127.0.0.1:8000/v1")
    shown = run_here("serve", "status")
    assert shown.code == 0
    first, second = shown.out.splitlines()
    assert first.startswith("mini at http://127.0.0.1:8000/v1, since 20")
    assert first.endswith(f", process {os.getpid()}")
    assert second.startswith("The model is in memory; idle for ")
    local.service.engine.loaded = None
    with local.service.engine.occupied():
        busy = json.loads(run_here("serve", "status", "--json").out)
    assert is_valid(busy, "status")
    assert (busy["loaded"], busy["idle_s"], busy["model"]) == (False, 0, "mini")
    assert "unloaded until the next request" in run_here("serve", "status").out


def test_no_server() -> None:
    shown = run_here("serve", "status")
    assert (shown.code, shown.out) == (1, "")
    assert "no server of yours is running; `dycoke serve` starts one" in shown.err


def test_a_server_of_another_version(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.server.local.server_asker.running_code", lambda: "another")
    shown = run_here("serve", "status")
    assert shown.code == 1
    assert "a server of yours is running, and it runs another version of dycoke" in shown.err
