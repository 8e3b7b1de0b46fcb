"""The end of a server amid work, and of work whose client has left."""

from __future__ import annotations

import gc
import http.client
import io
import json
import logging
import signal
import socket
import sys
import tempfile
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from dycoke_cli.server import lifetime
from dycoke_cli.video.limits import Limits
from tests.cli.fake_engine import PATIENCE_S
from tests.server.pretended import CHAT, HEAD, Running, body_of, running
from tests.server.real import serving
from tests.waiting import until

ENDS_S = 5.0


SLOW = "data:video/mp4;base64,c2xvdw=="


def shut(server: Running) -> None:
    """Have the slow video read until it is stopped, and any other at once."""
    server.pretended.batches.clear()
    server.pretended.shut_for = b"slow"
    server.pretended.shutter.clear()


def asking(server: Running, body: bytes) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("POST", CHAT, body, {"Content-Type": "application/json"})
    return connection


def test_a_client_that_leaves_ends_the_reading_of_its_video(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of more clients than are read at once: those that wait for their turn as well."""
    with running(monkeypatch) as server:
        assert server.ask("Why?")[0] == 200
        shut(server)
        left = [asking(server, body_of("What?", SLOW)) for _ in range(4)]
        assert server.pretended.began.wait(PATIENCE_S)
        server.wait_for("requests_active", 4)
        for connection in left:
            connection.close()
        began = time.monotonic()
        server.wait_for("requests_active", 0)
        until(lambda: not server.pretended.reading, ENDS_S)
        assert time.monotonic() - began < ENDS_S
        assert not server.pretended.batches


def test_reading_ends_at_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch) as server:
        shut(server)
        limits = Limits(time_limit=0.1)
        object.__setattr__(
            server.service, "defaults", replace(server.service.defaults, limits=limits)
        )
        status, reply = server.ask("What?", SLOW)
        assert (status, reply["error"]["code"]) == (400, "video_unreadable")
        assert "aren't read after 0.1 s" in reply["error"]["message"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_GRACE_S", "_REPLY_S"):
        monkeypatch.setattr(lifetime, name, 0.3)


@pytest.mark.usefixtures("short_grace")
def test_a_server_ends_amid_work(
    monkeypatch: pytest.MonkeyPatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A video is read, an answer is streamed, another comes whole, and a body isn't complete."""
    words = "a " * 200
    with caplog.at_level(logging.ERROR), ThreadPoolExecutor() as pool:
        with running(monkeypatch) as server:
            server.pretended.pause_s = 0.1
            shut(server)
            stream = asking(server, body_of(words, stream=True)).getresponse()
            assert stream.readline()
            whole = pool.submit(server.ask, words)
            read = pool.submit(server.ask, "What?", SLOW)
            assert server.pretended.began.wait(PATIENCE_S)
            partial = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
            partial.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n{{".encode())
            assert list(folder.glob("dycoke-*"))
            began = time.monotonic()
        assert time.monotonic() - began < ENDS_S
        for status, reply in (whole.result(), read.result()):
            assert (status, reply["error"]["code"]) == (503, "ending")
        assert b'"code": "ending"' in stream.read().splitlines()[-2]
        partial.close()
        gc.collect()  # what asyncio has to say of a task, it logs then
    assert not list(folder.glob("dycoke-*"))
    assert not caplog.records


@pytest.mark.usefixtures("short_grace")
def test_a_server_ends_while_a_body_is_parsed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing ends that thread, as where it compiles a schema; the server doesn't wait for it."""
    begun, ended = threading.Event(), threading.Event()

    def read(*_: object) -> None:
        begun.set()
        ended.wait(PATIENCE_S)

    monkeypatch.setattr("dycoke_cli.server.routes.read", read)
    with caplog.at_level(logging.ERROR):
        with running(monkeypatch) as server:
            connection = asking(server, body_of("What?"))
            assert begun.wait(PATIENCE_S)
            began = time.monotonic()
        assert time.monotonic() - began < ENDS_S
        ended.set()
        connection.close()
        gc.collect()
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals, and locks of files")
def test_a_signal_ends_a_real_server_amid_work(tmp_path: Path) -> None:
    """SIGTERM within seconds, with no traceback and no file; what SIGKILL left, the next sweeps."""
    picture = io.BytesIO()
    Image.new("L", (5600, 5000)).save(picture, "PNG")
    shown = f"data:image/png;base64,{b64encode(picture.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": shown}}] * 36
    content = [*parts, {"type": "text", "text": "What?"}]
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    (tmp_path / "tmp").mkdir()
    for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 128 + signal.SIGTERM)):
        with serving(tmp_path, TMPDIR=str(tmp_path / "tmp")) as (url, process):
            assert not list((tmp_path / "tmp").glob("dycoke-*"))
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
            connection.request("POST", CHAT, body, {"Content-Type": "application/json"})
            until(lambda: list((tmp_path / "tmp").glob("dycoke-*/35")), PATIENCE_S)
            began = time.monotonic()
            process.send_signal(end)
            assert process.wait(PATIENCE_S) == code
            assert time.monotonic() - began < ENDS_S
            if end == signal.SIGTERM:
                assert connection.getresponse().status == 503
            connection.close()
    assert not list((tmp_path / "tmp").glob("dycoke-*"))
    assert "Traceback" not in (tmp_path / "stderr").read_text()
