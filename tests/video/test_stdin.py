"""A video from stdin: kept in a file that has no name, and read."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import pytest

from dycoke_cli.errors import OutputError, UsageError, VideoError
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.files import STDIN, spooled
from dycoke_cli.video.sampling import Sampling
from tests.video.clips import Recipe, numbers_in
from tests.video.conftest import MakeClip


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_video_with_its_index_at_the_end(
    make_clip: MakeClip, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(Recipe()).path
    content = path.read_bytes()
    assert content.index(b"moov") > content.index(b"mdat")
    with path.open("rb") as stdin, Decoder() as decoder:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stdin))
        with decoder.open(STDIN, Sampling(frames=2)) as opened:
            assert numbers_in(opened.read().frames) == [0, 49]


def test_a_real_pipe(make_clip: MakeClip) -> None:
    content = make_clip(Recipe()).path.read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as out:
        out.write(content)
    with os.fdopen(reading, "rb") as stdin, spooled(stdin) as file:
        file.seek(0)
        assert file.read() == content


@pytest.mark.skipif(sys.platform == "win32", reason="a thread can't be signalled there")
def test_a_signal_that_does_not_interrupt_the_read_is_handled() -> None:
    """One that another thread received: Python's handler waits for this thread to wake up."""

    def handle(signum: int, frame: FrameType | None) -> None:
        raise InterruptedError("the handler ran")

    def send() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        handled.wait(20)
        os.close(writing)

    handled = threading.Event()
    reading, writing = os.pipe()
    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=send)
    try:
        thread.start()
        began = time.monotonic()
        with os.fdopen(reading, "rb") as stdin, pytest.raises(VideoError) as error, spooled(stdin):
            pytest.fail("the stream ended")
        assert isinstance(error.value.__cause__, InterruptedError)
        assert time.monotonic() - began < 15
    finally:
        handled.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(sys.platform == "win32", reason="a file there has a name until it is closed")
def test_there_is_no_file_that_could_be_left(temporary: Path) -> None:
    """Whatever ends this process, the system frees the space."""
    with spooled(io.BytesIO(b"x" * 10)) as file:
        assert list(temporary.iterdir()) == []
        assert os.fstat(file.fileno()).st_size == 10


def test_too_much(temporary: Path) -> None:
    with pytest.raises(VideoError) as error, spooled(io.BytesIO(b"x" * 1025), limit_bytes=1024):
        pytest.fail("the limit doesn't hold")
    assert str(error.value).startswith("the video on stdin is larger than ")
    assert str(error.value).endswith("GiB: save it to a file and name that")
    assert list(temporary.iterdir()) == []


def test_exactly_the_limit() -> None:
    with spooled(io.BytesIO(b"x" * 1024), limit_bytes=1024) as file:
        assert os.fstat(file.fileno()).st_size == 1024


def test_nothing(temporary: Path) -> None:
    with (
        pytest.raises(VideoError, match="the video on stdin is empty: did the command before"),
        spooled(io.BytesIO()),
    ):
        pytest.fail("nothing is no video")
    assert list(temporary.iterdir()) == []


def test_terminal() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(UsageError, match="- reads the video from stdin, and that is a terminal"):
        spooled(Terminal()).__enter__()


def test_unreadable_stdin(temporary: Path) -> None:
    class Broken(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(VideoError, match=r"on stdin can't be read \(Input/output error\)"):
        spooled(Broken()).__enter__()
    assert list(temporary.iterdir()) == []


def test_nowhere_to_keep_it(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "gone"))
    with pytest.raises(OutputError, match=r"can't be kept in a temporary file \(No such file") as e:
        spooled(io.BytesIO(b"x")).__enter__()
    assert e.value.exit_code == 6
