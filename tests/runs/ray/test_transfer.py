"""What is sent to Ray's workers, and how often it is tried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.runs.ray import transfer
from dycoke_cli.runs.ray.attempts import Attempts
from dycoke_cli.runs.ray.transfer import Sender, received


def test_the_first_worker_takes_them_together_the_next_one_by_one() -> None:
    attempts = Attempts()
    assert attempts.begin([0, 1, 2]) is True
    assert attempts.begin([3]) is True
    assert attempts.begin([0, 1, 2]) is False
    assert [attempts.begin_alone(0), attempts.begin_alone(1)] == [2, 2]


def test_what_is_found_alone_isnt_looked_for_again() -> None:
    attempts = Attempts()
    attempts.begin([0, 1])
    attempts.begin_alone(0)
    attempts.end_alone(0, b"found")
    attempts.begin_alone(1)
    # The worker dies of 1, and the next one is given both.
    assert attempts.begin([0, 1]) is False
    assert attempts.begin_alone(0) == b"found"
    assert attempts.begin_alone(1) == 3
    assert attempts.begin_alone(1) == 4


def test_nothing_is_begun_after_the_end() -> None:
    attempts = Attempts()
    attempts.begin([0, 1])
    assert sorted(attempts.stop()) == [0, 1]
    assert attempts.begin([2]) is None
    assert attempts.begin([0, 1]) is None


def test_what_holds_no_model_doesnt_import_torch() -> None:
    names = ("ray.attempts", "worker", "ray.transfer", "ray.workers")
    modules = ", ".join(f"dycoke_cli.runs.{name}" for name in names)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("size", [1, 7, 8, 9, 30])
def test_copy_is_the_file_and_goes(size: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 8)
    path = tmp_path / "a clip.h264"
    path.write_bytes(os.urandom(size))
    with received(str(path), Sender({str(path)}).chunk) as copy:
        assert copy != str(path)
        assert Path(copy).read_bytes() == path.read_bytes()
    assert not Path(copy).exists()


def test_what_cant_be_sent_is_said_as_elsewhere(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "empty.mp4").touch()
    for name, sentence in (
        ("pipe.mp4", "is a pipe"),
        ("empty.mp4", "is empty"),
        ("none.mp4", "doesn't exist"),
        (".", "is a folder"),
    ):
        path = str(tmp_path / name)
        with pytest.raises(VideoError, match=sentence), received(path, Sender({path}).chunk):
            pass


def test_file_that_goes_while_it_is_sent(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 8)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x" * 20)

    def chunk(name: str, offset: int) -> object:
        if offset:
            path.unlink(missing_ok=True)
        return Sender({name}).chunk(name, offset)

    with pytest.raises(VideoError, match="doesn't exist"), received(str(path), chunk):
        pass


def test_no_file_is_sent_but_those_of_the_run(tmp_path: Path) -> None:
    for name in ("clip.mp4", "secret"):
        (tmp_path / name).write_bytes(b"x" * 20)
    sender = Sender({str(tmp_path / "clip.mp4")})
    assert sender.chunk(f"{tmp_path}/clip.mp4", 0) == b"x" * 20
    for path in (f"{tmp_path}/secret", f"{tmp_path}/clip.mp4/../secret", "/etc/passwd"):
        for offset in (0, 1):
            refused = sender.chunk(path, offset)
            assert isinstance(refused, VideoError)
            assert "isn't a file of this run" in str(refused)
