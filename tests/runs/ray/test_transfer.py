"""What is sent to Ray's workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dycoke_cli.errors import DycokeError, VideoError
from dycoke_cli.runs.ray import transfer
from dycoke_cli.runs.ray.transfer import Sender, received


def test_what_holds_no_model_doesnt_import_torch() -> None:
    names = ("cluster", "driver", "transfer", "ray_asker")
    modules = ", ".join(f"dycoke_cli.runs.ray.{name}" for name in names)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def sending(path: Path | str) -> Callable[[str, int], bytes | DycokeError]:
    """Sends this file."""
    sender = Sender()
    sender.add([str(path)])
    return sender.chunk


@pytest.mark.parametrize("size", [1, 7, 8, 9, 30])
def test_copy_is_the_file_and_goes(size: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 8)
    path = tmp_path / "a clip.h264"
    path.write_bytes(os.urandom(size))
    with received(str(path), sending(path)) as copy:
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
        with pytest.raises(VideoError, match=sentence), received(path, sending(path)):
            pass


def test_file_that_goes_while_it_is_sent(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 8)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x" * 20)

    def chunk(name: str, offset: int) -> object:
        if offset:
            path.unlink(missing_ok=True)
        return sending(name)(name, offset)

    with pytest.raises(VideoError, match="doesn't exist"), received(str(path), chunk):
        pass


def test_no_file_is_sent_but_those_of_the_run(tmp_path: Path) -> None:
    for name in ("clip.mp4", "secret"):
        (tmp_path / name).write_bytes(b"x" * 20)
    sender = Sender()
    sender.add([str(tmp_path / "clip.mp4")])
    assert sender.chunk(f"{tmp_path}/clip.mp4", 0) == b"x" * 20
    for path in (f"{tmp_path}/secret", f"{tmp_path}/clip.mp4/../secret", "/etc/passwd"):
        for offset in (0, 1):
            refused = sender.chunk(path, offset)
            assert isinstance(refused, VideoError)
            assert "isn't a file of this run" in str(refused)
