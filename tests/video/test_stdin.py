"""A video from stdin: spooled, read, removed."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from dycoke_cli.errors import OutputError, UsageError, VideoError
from dycoke_cli.video import Sampling, read
from dycoke_cli.video.stdin import spool

from .clips import Recipe, numbers_in
from .conftest import MakeClip


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_video_with_its_index_at_the_end(make_clip: MakeClip, temporary: Path) -> None:
    path = make_clip(Recipe()).path
    content = path.read_bytes()
    assert content.index(b"moov") > content.index(b"mdat")
    with path.open("rb") as stdin, spool(stdin) as spooled:
        assert Path(spooled).parent == temporary
        assert numbers_in(read(spooled, Sampling(frames=2)).frames) == [0, 49]
    assert list(temporary.iterdir()) == []


def test_a_real_pipe(make_clip: MakeClip) -> None:
    content = make_clip(Recipe()).path.read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as out:
        out.write(content)
    with os.fdopen(reading, "rb") as stdin, spool(stdin) as spooled:
        assert Path(spooled).read_bytes() == content


def test_removed_when_what_follows_fails(temporary: Path) -> None:
    with pytest.raises(KeyboardInterrupt), spool(io.BytesIO(b"x")):
        raise KeyboardInterrupt
    assert list(temporary.iterdir()) == []


def test_removed_by_someone_else_is_fine() -> None:
    with spool(io.BytesIO(b"x")) as path:
        os.unlink(path)


def test_too_much(temporary: Path) -> None:
    with pytest.raises(VideoError) as error, spool(io.BytesIO(b"x" * 1025), limit_bytes=1024):
        pytest.fail("the limit doesn't hold")
    assert str(error.value).startswith("the video on stdin is larger than ")
    assert str(error.value).endswith("GiB: save it to a file and name that")
    assert list(temporary.iterdir()) == []


def test_exactly_the_limit() -> None:
    with spool(io.BytesIO(b"x" * 1024), limit_bytes=1024) as path:
        assert Path(path).stat().st_size == 1024


def test_nothing(temporary: Path) -> None:
    with (
        pytest.raises(VideoError, match="the video on stdin is empty: did the command before"),
        spool(io.BytesIO()),
    ):
        pytest.fail("nothing is no video")
    assert list(temporary.iterdir()) == []


def test_terminal() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(UsageError, match="- reads the video from stdin, and that is a terminal"):
        spool(Terminal()).__enter__()


def test_unreadable_stdin(temporary: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(VideoError, match=r"on stdin can't be read \(Input/output error\)"):
        spool(Broken()).__enter__()
    assert list(temporary.iterdir()) == []


def test_nowhere_to_keep_it(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "gone"))
    with pytest.raises(OutputError, match=r"can't be kept in a temporary file \(No such file") as e:
        spool(io.BytesIO(b"x")).__enter__()
    assert e.value.exit_code == 6
