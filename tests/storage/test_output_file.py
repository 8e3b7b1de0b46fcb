"""Files that are replaced as a whole: what was left of a killed process goes, all else stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dycoke_cli.storage.cache_folder import CacheFiles
from dycoke_cli.storage.output_file import replace_content, replacing

posix = pytest.mark.skipif(os.name != "posix", reason="nothing is removed on Windows")
WRITING = """
import sys, time
from pathlib import Path
from dycoke_cli.storage.output_file import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(flush=True)
    time.sleep(600)
"""


@contextmanager
def being_written(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has written half of a file."""
    command = [sys.executable, "-c", WRITING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@posix
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("before")
    with being_written(out) as process:
        (half,) = set(names(tmp_path)) - {"out.json"}
        replace_content(out, b"mine")
        assert names(tmp_path) == [half, "out.json"], "it is still being written"
        process.send_signal(signal.SIGKILL)
    assert out.read_bytes() == b"mine"
    replace_content(tmp_path / "other.json", b"")
    assert half in names(tmp_path), "of another file"
    replace_content(out, b"again")
    assert names(tmp_path) == ["other.json", "out.json"]
    assert out.read_bytes() == b"again"


def test_a_process_with_the_id_of_one_that_was_killed(tmp_path: Path) -> None:
    """In containers, ids begin with the same number each time."""
    out = tmp_path / "out.json"
    for number in range(100):
        (tmp_path / f".out.json.{os.getpid()}-{number}.part").write_text("half")
    replace_content(out, b"whole")
    assert names(tmp_path) == ["out.json"]
    with replacing(out) as mine:
        replace_content(out, b"of another thread")
        assert mine.exists()
        mine.write_text("later")
    assert out.read_text() == "later"


def test_names_that_only_look_alike_stay(tmp_path: Path) -> None:
    own = [".out.json.part", ".out.json.12.part", ".out.json.x-1.part", "out.json.1-1.part"]
    for name in own:
        (tmp_path / name).write_text("mine")
    replace_content(tmp_path / "out.json", b"")
    assert names(tmp_path) == sorted([*own, "out.json"])


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(out) as temporary:
        temporary.write_text("half" * (1 // 0))
    assert (names(tmp_path), out.read_text()) == (["out.json"], "before")


@posix
@pytest.mark.parametrize("act", [CacheFiles.clear, CacheFiles.trim])
def test_a_cache_drops_what_was_left_in_it(act: object, tmp_path: Path) -> None:
    files = CacheFiles(tmp_path, ".safetensors", 100)
    with being_written(files.path("key")) as process:
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    assert callable(act)
    act(files)
    assert names(tmp_path) == []
